/** What a word of a command line names. */
export type ValueKind = 'file' | 'directory' | 'machine' | 'guest' | 'snapshot' | 'tag' | 'set' | 'experiment'
/** A choice is in small letters, and stands for itself: `flat|packed`. */
export type Value = ValueKind | { readonly word: string }

const kindsOfPlaceholder: Readonly<Record<string, readonly ValueKind[]>> = {
  FILE: ['file'],
  DIR: ['directory'],
  REF: ['snapshot'],
  SET: ['set', 'file'],
  'REF:NAME': ['set'],
  GUEST: ['guest'],
  TAG: ['tag'],
}

/** What the value of an option names, by its placeholder: `FILE[:ro]`, `DIR|FILE`, `flat|packed`. */
export function optionValues(option: string, placeholder: string): readonly Value[] {
  if (option === '--machine') return ['machine']
  return placeholder
    .replace(/\[.*\]$/, '')
    .split('|')
    .flatMap(valuesOf)
}

const valuesOf = (one: string): readonly Value[] =>
  kindsOfPlaceholder[one] ?? (/^[a-z][a-z0-9-]*$/.test(one) ? [{ word: one }] : [])

/** What the argument at `place` (from 0) of a verb names, by its usage lines. */
export function argumentValues(verb: string, usage: readonly string[], place: number): readonly Value[] {
  const values = usage.flatMap((line) => {
    const placeholders = argumentsOf(line.slice(`varve ${verb}`.length))
    const repeated = placeholders.findIndex((it) => it.includes('...'))
    const placeholder = placeholders[repeated >= 0 && place > repeated ? repeated : place]
    return placeholder === undefined ? [] : ofArgument(verb, placeholder.replaceAll(/[[\].]/g, ''))
  })
  return [...new Set(values)]
}

function named(verb: string): ValueKind {
  if (verb === 'lab run') return 'experiment'
  return verb.startsWith('guest ') ? 'guest' : 'machine'
}

function ofArgument(verb: string, placeholder: string): readonly Value[] {
  return placeholder.split('|').flatMap((one): readonly Value[] => {
    if (one === 'NAME') return [named(verb)]
    // Two of a kind that are compared.
    if (one === 'A' || one === 'B') return verb.startsWith('ws ') ? ['set', 'file'] : ['snapshot']
    return valuesOf(one)
  })
}

/** The words of a usage line that are neither options nor their values. */
function argumentsOf(line: string): readonly string[] {
  const options = /\[-[^\]]*\](?:\.\.\.)?|--?[\w-]+ \S+|--?[\w-]+|\[options\]/g
  return line
    .replaceAll(/\[-- .*$/g, '')
    .replaceAll(options, '')
    .split(' ')
    .filter((word) => /^\[?[A-Z]|^[a-z]+\|/.test(word))
}
