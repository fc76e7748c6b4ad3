import { cpus } from 'node:os'
import type {
  EngineName,
  LaunchedMachine,
  LoadOptions,
  LocalStore,
  RestoreOptions,
  RunningMachine,
} from 'varve'
import { engineChoices, launchMachine, restoreMachine } from 'varve'
import { startCHandler } from '../common/handlers.js'

/** What a restore starts from. */
export interface Image {
  readonly store: LocalStore
  /** The store whose layers are packed by the set. */
  readonly packed?: LocalStore
  readonly flat: string
  readonly load: Omit<LoadOptions, 'memory'>
}

export interface Started {
  readonly machine: RunningMachine
  readonly report: { readonly reason?: string | null; readonly phasesMs: Readonly<Record<string, number>> }
  /** Ends what serves the machine, once that has ended. */
  readonly endHelper?: () => Promise<void>
}

type Launch = Pick<RestoreOptions, 'binary' | 'runtimeDirectory' | 'signal'>

export interface StartOptions {
  readonly launch: Launch
  /** The VMM waits already. */
  readonly launched: LaunchedMachine | undefined
  /** The compiled handler in C. */
  readonly handler: string
}

/** A way to restore. `ahead`: the VMM waits for the request. */
export interface Contender {
  /** Null of a reference: Firecracker by itself and, for Uffd, a handler in plain C. */
  readonly engine: EngineName | 'auto' | null
  readonly ahead?: boolean
  /** By the snapshot's working set. */
  readonly usesSet?: boolean
  readonly start: (image: Image, options: StartOptions) => Promise<Started>
}

type EngineWishes = Pick<RestoreOptions, 'prefetch' | 'faultCpu'> & {
  readonly set?: boolean
  readonly packed?: boolean
  readonly ahead?: boolean
}

const byEngine = (engine: EngineName | 'auto', wishes: EngineWishes = {}): Contender => {
  const { set = false, packed = false, ahead = false, ...rest } = wishes
  return {
    engine,
    ahead,
    usesSet: set,
    start: async (image, { launch, launched }) => {
      const store = packed ? image.packed : image.store
      if (store === undefined) throw new Error('there is no packed store')
      const { machine, report } = await restoreMachine(store, 'it', {
        ...launch,
        engine,
        ...rest,
        ...(set ? { workingSet: 'set' } : {}),
        ...(launched === undefined ? {} : { machine: launched }),
      })
      return { machine, report }
    },
  }
}

/** What one does without Varve's engines: a flat memory file, mapped by Firecracker. */
const vanilla: Contender['start'] = async ({ flat, load }, { launch, launched }) => {
  const machine = launched ?? (await launchMachine(launch))
  try {
    const running = await machine.loadAndResume({ ...load, memory: { backend: 'File', path: flat } })
    return { machine: running, report: { phasesMs: {} } }
  } catch (error) {
    await machine.stop()
    throw error
  }
}

/** The same through userfaultfd, answered by a loop like that of Firecracker's example handler. */
const vanillaUffd: Contender['start'] = async ({ flat, load }, { launch, handler }) => {
  const machine = await launchMachine(launch)
  try {
    const { memory, end } = await startCHandler(handler, machine, flat)
    try {
      const running = await machine.loadAndResume({ ...load, memory })
      return { machine: running, report: { phasesMs: {} }, endHelper: end }
    } catch (error) {
      await end()
      throw error
    }
  } catch (error) {
    await machine.stop()
    throw error
  }
}

export const handlerInC = 'vanilla Uffd, handler in C'

const before = { set: true, prefetch: 'before' } as const
const alongside = { set: true, prefetch: 'concurrent' } as const

const all: Readonly<Record<string, Contender>> = {
  vanilla: { engine: null, start: vanilla },
  'vanilla, launched ahead': { engine: null, start: vanilla, ahead: true },
  [handlerInC]: { engine: null, start: vanillaUffd },
  auto: byEngine('auto'),
  'auto, set': byEngine('auto', { set: true }),
  file: byEngine('file'),
  'file, launched ahead': byEngine('file', { ahead: true }),
  'file, set before': byEngine('file', before),
  'file, set alongside': byEngine('file', alongside),
  paged: byEngine('paged'),
  'paged, set before': byEngine('paged', before),
  'paged, set alongside': byEngine('paged', alongside),
  'paged, on one CPU': byEngine('paged', { faultCpu: cpus().length - 1 }),
  mapped: byEngine('mapped'),
  'mapped, launched ahead': byEngine('mapped', { ahead: true }),
  'mapped, set before': byEngine('mapped', before),
  'mapped, set alongside': byEngine('mapped', alongside),
  // The same from layers in which the set's pages come first, in its order.
  'paged, packed, set before': byEngine('paged', { ...before, packed: true }),
  'mapped, packed, set before': byEngine('mapped', { ...before, packed: true }),
  'mapped, packed, set alongside': byEngine('mapped', { ...alongside, packed: true }),
}

export const isPacked = (name: string): boolean => name.includes(', packed,')

export function contender(name: string): Contender {
  const found = all[name]
  if (found === undefined)
    throw new Error(`no contender is named ${name}; there are ${Object.keys(all).join('; ')}`)
  return found
}

/** Those named, else all, that this version has an engine for. */
export const contenderNames = (named: readonly string[] = Object.keys(all)): string[] =>
  named.filter((name) => {
    const { engine } = contender(name)
    return engine === null || (engineChoices as readonly string[]).includes(engine)
  })
