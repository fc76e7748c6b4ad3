import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Command } from '../command.js'
import { helpParts } from '../help-parts.js'
import { findVerb, type VerbGroup, verbs } from '../verbs.js'
import { argumentValues, optionValues, type Value, type ValueKind } from './value-kinds.js'

/** Names after which a shell shows an explanation; a tab divides the two. */
const explained = (name: string, summary: string) => `${name}\t${summary}`
/** Lines that ask the shell for files or directories. */
const shellKinds: Partial<Record<ValueKind, string>> = { file: ':file', directory: ':directory' }
/** More candidates than this do not help. */
const mostNames = 1000

/**
 * What could stand for the last of `words` (what was typed of it, or empty), a line each: `NAME`,
 * `NAME<tab>EXPLANATION`, or `:file` or `:directory`, by which the shell adds these. `words` are those after
 * `varve`. Never fails: a shell that completes has no place for an error.
 */
export async function candidates(words: readonly string[]): Promise<readonly string[]> {
  try {
    const current = words.at(-1) ?? ''
    const lines = await possible(words.slice(0, -1), current)
    return lines.filter((line) => line.startsWith(':') || line.startsWith(current)).slice(0, mostNames)
  } catch {
    return []
  }
}

async function possible(before: readonly string[], current: string): Promise<readonly string[]> {
  const [first, ...more] = before
  if (first === undefined)
    return [...namesOf(verbs), explained('help', 'explain a verb'), '--version', '--help']
  if (first === 'help') return helpTopics(more)
  const found = findVerb(before)
  if (found === undefined) return []
  if ('verbs' in found.entry) return found.rest.length === 0 ? namesOf(found.entry.verbs) : []
  const { command } = await found.entry.load()
  return ofCommand(found.name, command, found.rest, current)
}

const namesOf = (table: Readonly<Record<string, { readonly summary: string }>>) =>
  Object.entries(table).map(([name, { summary }]) => explained(name, summary))

function helpTopics([group, ...more]: readonly string[]): readonly string[] {
  if (group === undefined) return namesOf(verbs)
  const entry = Object.hasOwn(verbs, group) ? verbs[group] : undefined
  return more.length === 0 && entry !== undefined && 'verbs' in entry
    ? namesOf((entry as VerbGroup).verbs)
    : []
}

async function ofCommand(
  name: string,
  command: Command,
  rest: readonly string[],
  current: string,
): Promise<readonly string[]> {
  // What follows -- is another program's command line.
  if (rest.includes('--')) return [':file']
  const { described, usage } = helpParts(command)
  const takesValue = (word: string) => command.options[word.replace(/^--/, '')]?.type === 'string'
  const last = rest.at(-1) ?? ''
  const store = valueAfter(rest, '--store')
  if (last.startsWith('--') && takesValue(last)) {
    const values = described.filter(({ option }) => option === last).map(({ value }) => value)
    return valuesFor(
      last === '--store' ? ['directory'] : values.flatMap((it) => optionValues(last, it)),
      store,
    )
  }
  if (current.startsWith('-'))
    return Object.keys({ ...command.options, json: true, help: true }).map((option) => {
      const about = described.find((it) => it.option === `--${option}`)?.text ?? ''
      return about === '' ? `--${option}` : explained(`--${option}`, about)
    })
  const place = rest.filter((word, at) => !word.startsWith('-') && !takesValue(rest[at - 1] ?? '')).length
  return valuesFor(argumentValues(name, usage, place), store)
}

function valueAfter(words: readonly string[], option: string): string | undefined {
  const at = words.indexOf(option)
  return at < 0 ? undefined : words[at + 1]
}

async function valuesFor(values: readonly Value[], store: string | undefined): Promise<readonly string[]> {
  const lists = await Promise.all(
    values.map(async (value) => {
      if (typeof value !== 'string') return [value.word]
      return shellKinds[value] === undefined ? namesOfKind(value, store).catch(() => []) : [shellKinds[value]]
    }),
  )
  return [...new Set(lists.flat())]
}

async function namesOfKind(kind: ValueKind, place: string | undefined): Promise<readonly string[]> {
  if (kind === 'machine') {
    const { runtimeDirectory } = await import('varve')
    return readdirSync(join(runtimeDirectory(), 'machines')).filter((name) => !name.startsWith('.'))
  }
  if (kind === 'experiment') {
    const { loadLab } = await import('../lab.js')
    return (await loadLab()).shippedExperiments()
  }
  if (kind === 'guest') {
    const { loadGuest } = await import('../guest.js')
    return (await (await loadGuest()).listGuests()).map(({ name }) => name)
  }
  const { defaultStoreDirectory, openLocalStore } = await import('varve')
  const store = await openLocalStore(place ?? defaultStoreDirectory())
  const entries = await store.list()
  const refs = entries.flatMap(({ id, tags }) => (tags.length > 0 ? tags : [id.slice(0, 12)]))
  if (kind === 'tag') return entries.flatMap(({ tags }) => tags)
  if (kind === 'snapshot') return refs
  const sets = []
  for (const ref of refs)
    for (const { name } of (await store.describe(ref)).workingSets) sets.push(`${ref}:${name}`)
  return sets
}
