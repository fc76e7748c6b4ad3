import { assertLabels, type Labels, VarveError } from 'varve'
import type { LayerLayout } from 'varve/layers'
import type { CommandContext, OptionValues } from './command.js'
import { count } from './text.js'

export function stringOption(values: OptionValues, name: string): string | undefined {
  const value = values[name]
  return typeof value === 'string' ? value : undefined
}

export function listOption(values: OptionValues, name: string): string[] {
  const value = values[name]
  return Array.isArray(value) ? value.filter((it) => typeof it === 'string') : []
}

export function integerOption(values: OptionValues, name: string): number | undefined {
  const text = stringOption(values, name)
  if (text === undefined) return undefined
  if (!/^\d{1,15}$/.test(text)) throw new VarveError('USAGE', `--${name} ${text} is not a whole number`)
  return Number(text)
}

/** Exactly the named positionals, else USAGE. */
export function positionals<const Names extends readonly string[]>(
  context: CommandContext,
  names: Names,
): { [Index in keyof Names]: string } {
  if (context.positionals.length !== names.length)
    throw new VarveError(
      'USAGE',
      `expected ${names.length === 0 ? 'no arguments' : names.join(' ')}, got ${count(context.positionals.length, 'argument')}`,
    )
  return context.positionals as unknown as { [Index in keyof Names]: string }
}

/** One or more names. */
export function someNames(context: CommandContext): readonly string[] {
  if (context.positionals.length === 0)
    throw new VarveError('USAGE', 'expected at least one machine NAME', { remedy: 'varve ps lists them' })
  return context.positionals
}

/** `--layout flat|packed`, if it was given. */
export function layoutOption(values: OptionValues): LayerLayout | undefined {
  const layout = stringOption(values, 'layout')
  if (layout === undefined || layout === 'flat' || layout === 'packed') return layout
  throw new VarveError('USAGE', `--layout ${layout} is neither flat nor packed`)
}

/** `--label KEY=VALUE`, repeatable. */
export function labelsOption(values: OptionValues): Labels {
  const pairs = listOption(values, 'label').map((text): [string, string] => {
    const at = text.indexOf('=')
    if (at < 1) throw new VarveError('USAGE', `--label ${text} is not KEY=VALUE`)
    return [text.slice(0, at), text.slice(at + 1)]
  })
  return assertLabels(Object.fromEntries(pairs))
}

/** For verbs that make machines or snapshots, or list them. */
export const labelOption = { label: { type: 'string', multiple: true } } as const
