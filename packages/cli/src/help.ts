import type { Command } from './command.js'
import type { Verb, VerbGroup } from './verbs.js'

const exitStatusHelp = `Exit status: 0 done, 1 unexpected, 2 usage, 3 this machine lacks something, 4 bad file,
5 VMM or guest failed, 6 not found, 130 interrupted. See docs/errors.md.`

const storeHelp = `--store DIR is the store; else $VARVE_STORE, $XDG_DATA_HOME/varve/store, ~/.local/share/varve/store.
REF is a tag, an id, or the first 6 or more digits of an id.`

/** What `varve help` prints, or `varve help GROUP`. */
export function overview(verbs: VerbGroup['verbs'] | Readonly<Record<string, Verb | VerbGroup>>, group = '') {
  const width = Math.max(...Object.keys(verbs).map((name) => name.length)) + 2
  const lines = Object.entries(verbs).map(([name, { summary }]) => `  ${name.padEnd(width)}${summary}`)
  const [words, topic] = group === '' ? ['VERB', 'VERB'] : [`${group} VERB`, `${group} VERB`]
  return [
    `usage: varve ${words} [options]`,
    '',
    ...lines,
    '',
    `varve help ${topic} explains one. All take --json.`,
    '',
    exitStatusHelp,
  ].join('\n')
}

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
