import type { Command } from './command.js'
import { exitStatusHelp, storeHelp } from './help.js'
import { helpParts } from './help-parts.js'
import { type Task, tasks, type Verb } from './verbs.js'

/** A page of section 1 for each verb, and `varve.1` for all of them, from the same texts as `varve help`. */
export async function manPages(version: string): Promise<ReadonlyMap<string, string>> {
  const pages = new Map<string, string>()
  const verbs: [string, Verb][] = []
  for (const { verbs: ofTask } of tasks)
    for (const [name, entry] of Object.entries(ofTask as Task['verbs']))
      if ('verbs' in entry)
        for (const [sub, verb] of Object.entries(entry.verbs)) verbs.push([`${name} ${sub}`, verb])
      else verbs.push([name, entry])
  for (const [name, verb] of verbs) {
    const { command } = await verb.load()
    pages.set(`${pageName(name)}.1`, verbPage(name, verb, command, version))
  }
  pages.set('varve.1', overviewPage(version))
  return pages
}

const pageName = (verb: string) => `varve-${verb.replaceAll(' ', '-')}`

/** roff(7) takes a backslash, and a full stop or apostrophe at the beginning of a line, for its own. */
const escaped = (text: string) =>
  text
    .replaceAll('\\', '\\e')
    .replaceAll('-', '\\-')
    .replace(/^(?=[.'])/gm, '\\&')

const title = (name: string, version: string) =>
  `.TH ${escaped(name.toUpperCase())} 1 "" "varve ${escaped(version)}" "Varve"`

function verbPage(name: string, { summary }: Verb, command: Command, version: string): string {
  const { usage, described, paragraphs, examples } = helpParts(command)
  return page([
    title(pageName(name), version),
    '.SH NAME',
    `${escaped(pageName(name))} \\- ${escaped(summary)}`,
    '.SH SYNOPSIS',
    ...literal(usage),
    '.SH DESCRIPTION',
    ...(paragraphs.length === 0 ? [`${summary[0]?.toUpperCase()}${summary.slice(1)}.`] : paragraphs).flatMap(
      (text) => ['.PP', escaped(text)],
    ),
    ...('store' in command.options ? storeHelp.split('\n').flatMap((text) => ['.PP', escaped(text)]) : []),
    '.SH OPTIONS',
    ...described.flatMap(({ term, text }) => [
      '.TP',
      `.B ${escaped(term)}`,
      text === '' ? '\\&' : escaped(text),
    ]),
    '.TP',
    `.B ${escaped('--json')}`,
    'print one JSON document',
    '.SH EXAMPLES',
    ...literal(examples),
    ...exitStatus,
    '.SH SEE ALSO',
    '.BR varve (1)',
  ])
}

function overviewPage(version: string): string {
  return page([
    title('varve', version),
    '.SH NAME',
    'varve \\- layered snapshots and working sets for Firecracker microVMs',
    '.SH SYNOPSIS',
    ...literal(['varve VERB [options]', 'varve help VERB']),
    '.SH DESCRIPTION',
    'Each verb has a page of its own, varve\\-VERB(1).',
    ...tasks.flatMap((task) => [
      `.SS ${escaped(task.title)}`,
      ...Object.entries(task.verbs as Task['verbs']).flatMap(([name, entry]) =>
        'verbs' in entry
          ? Object.entries(entry.verbs).flatMap(([sub, verb]) => item(`${name} ${sub}`, verb.summary))
          : item(name, entry.summary),
      ),
    ]),
    '.SH OPTIONS',
    ...item('--json', 'print one JSON document'),
    ...item('--help, -h', 'explain the verb'),
    ...exitStatus,
  ])
}

const item = (term: string, text: string) => ['.TP', `.B ${escaped(term)}`, escaped(text)]

const exitStatus = ['.SH EXIT STATUS', escaped(exitStatusHelp.replace(/^Exit status: /, ''))]

/** Lines that stay as they are. */
const literal = (lines: readonly string[]) => ['.nf', ...lines.map(escaped), '.fi']

const page = (lines: readonly string[]) => `${lines.join('\n')}\n`
