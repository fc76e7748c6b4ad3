import type { Command } from './command.js'
import type { Task, Verb, VerbGroup } from './verbs.js'

export const exitStatusHelp = `Exit status: 0 done, 1 unexpected, 2 usage, 3 this machine lacks something, 4 bad file,
5 VMM or guest failed, 6 not found, 130 interrupted. See docs/errors.md.`

export const storeHelp = `--store DIR is the store; else $VARVE_STORE, $XDG_DATA_HOME/varve/store, ~/.local/share/varve/store.
REF is a tag, an id, or the first 6 or more digits of an id.`

/** What `varve help` prints: verbs by what one wants to do. */
export function overview(tasks: readonly Task[]): string {
  const width = widthOf(tasks.flatMap((task) => Object.keys(task.verbs)))
  return [
    'usage: varve VERB [options]',
    ...tasks.flatMap(({ title, verbs }) => ['', `${title}:`, ...linesOf(verbs, width)]),
    '',
    'varve help VERB explains one. All take --json.',
    '',
    exitStatusHelp,
  ].join('\n')
}

/** What `varve help GROUP` prints. */
export function groupOverview(verbs: VerbGroup['verbs'], group: string): string {
  return [
    `usage: varve ${group} VERB [options]`,
    '',
    ...linesOf(verbs, widthOf(Object.keys(verbs))),
    '',
    `varve help ${group} VERB explains one. All take --json.`,
    '',
    exitStatusHelp,
  ].join('\n')
}

const widthOf = (names: readonly string[]) => Math.max(...names.map((name) => name.length)) + 2

const linesOf = (verbs: Task['verbs'], width: number) =>
  Object.entries(verbs).map(([name, { summary }]) => `  ${name.padEnd(width)}${summary}`)

export function help(name: string, { summary }: Verb, command: Command): string {
  return [
    `varve ${name}: ${summary}`,
    '',
    command.usage,
    '',
    command.help.replace(/^\n+|\s+$/g, ''),
    '',
    ...('store' in command.options ? [storeHelp, ''] : []),
    exitStatusHelp,
  ].join('\n')
}
