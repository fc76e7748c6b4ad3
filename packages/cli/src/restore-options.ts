import {
  type BinaryPlaces,
  engineChoices,
  type Labels,
  type PrefetchMode,
  prefetchModes,
  type SnapshotStore,
  VarveError,
} from 'varve'
import type { WorkingSet } from 'varve/working-sets'
import { integerOption, labelOption, labelsOption, stringOption } from './arguments.js'
import type { CommandContext, OptionTable } from './command.js'
import { firecrackerHelp, firecrackerOptions, firecrackerPlaces } from './firecracker-options.js'
import { loadWorkingSet } from './working-set-place.js'

/** What every verb that restores takes. */
export const restoreOptions = {
  ...firecrackerOptions,
  engine: { type: 'string' },
  experimental: { type: 'boolean' },
  'working-set': { type: 'string' },
  prefetch: { type: 'string' },
  'prefetch-budget': { type: 'string' },
  graduate: { type: 'boolean' },
  'fault-cpu': { type: 'string' },
  paused: { type: 'boolean' },
  'no-dirty-tracking': { type: 'boolean' },
  ...labelOption,
} as const satisfies OptionTable

export const restoreHelp = `  --engine auto          whichever fits (default); the result says which one and why
  --engine file          one flat memory file, mapped by Firecracker; flattened once and kept
  --engine paged         a page server brings pages straight from the layers when the guest touches
                         them
  --engine mapped        the layers themselves, mapped into Firecracker while it loads: nothing is
                         flattened, and no process stays; x86_64, needs root or CAP_SYS_PTRACE
  --engine patched       the region list of the state file points into one file of all layers; an
                         experiment, Firecracker up to 1.10.1; needs --experimental
  --working-set SET      pages to bring before the guest asks for them: the name of a set kept in
                         the snapshot, REF:NAME of one that it descends from, or a file
  --prefetch concurrent|before
                         alongside the guest (default), or before it runs. With auto, by default not
                         at all if the set is in the page cache
  --prefetch-budget MS   with before: how long the guest waits at most; the rest comes after
  --graduate             with paged: bring all other memory too, alongside the guest; then it
                         needs no page server any more
  --fault-cpu N          with paged: run vCPUs, and the thread that answers their faults, on CPU N
  --paused               do not resume the guest
  --label KEY=VALUE      a note about the machine, repeatable; varve ps filters by it
  --no-dirty-tracking    no log of written pages; Diff snapshots then need Firecracker 1.13
${firecrackerHelp}`

export interface RestoreChoices extends BinaryPlaces {
  readonly engine: (typeof engineChoices)[number]
  readonly experimental: boolean
  readonly resume: boolean
  readonly graduate: boolean
  readonly faultCpu: number | undefined
  readonly trackDirtyPages: boolean
  readonly prefetch: PrefetchMode | undefined
  readonly prefetchBudgetMs: number | undefined
  readonly labels: Labels
}

/** USAGE for what names nothing. */
export function restoreChoices({ values }: Pick<CommandContext, 'values'>): RestoreChoices {
  const mode = stringOption(values, 'prefetch')
  const cpu = integerOption(values, 'fault-cpu')
  const budget = integerOption(values, 'prefetch-budget')
  return {
    ...firecrackerPlaces(values),
    labels: labelsOption(values),
    engine: oneOf(engineChoices, 'engine', stringOption(values, 'engine') ?? 'auto'),
    experimental: values.experimental === true,
    graduate: values.graduate === true,
    resume: values.paused !== true,
    trackDirtyPages: values['no-dirty-tracking'] !== true,
    prefetchBudgetMs: budget,
    faultCpu: cpu,
    prefetch: mode === undefined ? undefined : oneOf(prefetchModes, 'prefetch', mode),
  }
}

export function oneOf<Name extends string>(names: readonly Name[], option: string, text: string): Name {
  const found = names.find((name) => name === text)
  if (found === undefined) throw new VarveError('USAGE', `--${option} ${text} is none of ${names.join(', ')}`)
  return found
}

/** A name in the snapshot stays a name; anything else is looked for where it says. */
export async function chosenWorkingSet(
  store: SnapshotStore,
  ref: string,
  context: CommandContext,
): Promise<{ readonly workingSet?: WorkingSet | string }> {
  const text = stringOption(context.values, 'working-set')
  if (text === undefined) return {}
  const named = (await store.describe(ref)).workingSets.some(({ name }) => name === text)
  return { workingSet: named ? text : await loadWorkingSet(store, text, context) }
}
