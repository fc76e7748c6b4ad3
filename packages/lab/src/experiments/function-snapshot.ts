import { explainMachine, type GuestAgent, guestAgent } from '@varve/guest'
import {
  bootMachine,
  flattenSnapshot,
  isVarveError,
  type OpenSnapshot,
  openLocalStore,
  type RunningMachine,
  restoreMachine,
  type SnapshotStore,
  VarveError,
} from 'varve'
import { pagesFrom, zeroSource } from 'varve/layers'
import type { RecordedPages, RecorderName, WorkingSet } from 'varve/working-sets'
import type { FunctionInput, LabFunction } from '../functions/function-types.js'
import { installFunction } from '../functions/invoke-function.js'
import { diskFor, prepareGuest } from '../functions/prepare-guest.js'
import { guestHere } from '../linux/guest-here.js'
import { restoreVanilla } from './contenders.js'
import type { ExperimentLab, FactorValue, Measured } from './experiment.js'
import { measureVms, type StartedVm, type VmWork } from './measure-vms.js'

/** Emulated, a guest boots in 10 s and answers within seconds; a busy machine takes several times as long. */
const callTimeoutMs = 120_000

/**
 * Where a Linux guest with one function lies: booted, loaded, invoked once with its input A, then captured.
 */
export interface FunctionSnapshot extends AsyncDisposable {
  readonly fn: LabFunction
  readonly memoryMib: number
  readonly store: SnapshotStore
  readonly tag: string
  readonly snapshot: OpenSnapshot
  /** Everything that a restore may read: to be dropped from the page cache, or brought into it. */
  readonly files: readonly string[]
}

type Lab = Omit<ExperimentLab, 'factors'>

const launchOf = ({ binary, runtimeDirectory, signal }: Lab) => ({ binary, runtimeDirectory, signal })

export interface FunctionSnapshotOptions {
  /** Default 256. */
  readonly memoryMib?: number
}

/** Makes the snapshot in a store of its own below the lab's directory. */
export async function prepareFunction(
  lab: Lab,
  fn: LabFunction,
  { memoryMib = 256 }: FunctionSnapshotOptions = {},
): Promise<FunctionSnapshot> {
  const store = await openLocalStore(`${lab.directory}/${fn.name}-${memoryMib}`, { create: true })
  const tag = 'base'
  await prepareGuest({
    ...launchOf(lab),
    store,
    tags: [tag],
    functions: [fn],
    guest: await guestHere({ signal: lab.signal, onProgress: lab.say }),
    memoryMib,
    onProgress: (text) => lab.say(`${fn.name}: ${text}`),
  })
  return openFunction(store, tag, fn, memoryMib)
}

/** A snapshot that was taken of such a guest. Its flat file is made, as it would be by the first restore. */
export async function openFunction(
  store: SnapshotStore,
  tag: string,
  fn: LabFunction,
  memoryMib: number,
): Promise<FunctionSnapshot> {
  const snapshot = await store.open(tag)
  const { path: flat } = await flattenSnapshot(snapshot)
  const files = [
    flat,
    snapshot.statePath,
    ...[...snapshot.files, ...snapshot.diskFiles].map(({ path }) => path),
  ]
  return {
    fn,
    memoryMib,
    store,
    tag,
    snapshot,
    files: [...new Set(files)],
    [Symbol.asyncDispose]: () => snapshot[Symbol.asyncDispose](),
  }
}

/** The agent in a guest, as what `measureVms` wants: nothing is open between two calls. */
export interface AgentGuest extends AsyncDisposable {
  readonly agent: GuestAgent
}

/** One invocation: the agent's first answer, then the function's result, which is checked. */
export function functionWork(
  { fn, snapshot }: Pick<FunctionSnapshot, 'fn' | 'snapshot'>,
  { size, seed }: FunctionInput,
  { signal }: Pick<ExperimentLab, 'signal'>,
): Omit<VmWork<AgentGuest>, 'start'> {
  const input = fn.makeInput({ size, seed })
  const call = { timeoutMs: callTimeoutMs, signal }
  return {
    watched: snapshot.statePath,
    attach: (machine) => ({ agent: guestAgent(machine), [Symbol.asyncDispose]: async () => {} }),
    first: ({ agent }) => agent.ping(call),
    work: async ({ agent }) =>
      fn.fault(input, (await agent.functions.invoke(fn.name, input, call)).output) === null,
  }
}

/** A VM that has answered once already: what no restore can beat. */
export function measureWarm(of: FunctionSnapshot, input: FunctionInput, lab: Lab): Promise<Measured> {
  const work = functionWork(of, input, lab)
  return measureVms({
    ...work,
    start: () => restoreVanilla(of.snapshot, launchOf(lab)),
    warm: (guest) => work.work(guest),
  })
}

/** What one does without snapshots: boot, load the function, invoke it. */
export function measureColdBoot(of: FunctionSnapshot, input: FunctionInput, lab: Lab): Promise<Measured> {
  const { fn, memoryMib } = of
  const work = functionWork(of, input, lab)
  let installed = false
  return measureVms({
    ...work,
    start: async (): Promise<StartedVm> => {
      const guest = await guestHere({ signal: lab.signal })
      const { kernel, initrd, bootArgs } = guest
      const disk = { path: diskFor(guest, [fn]), readOnly: true }
      const spec = { kernel, initrd, bootArgs, rootDisk: disk, memoryMib, vcpus: 1, vsockCid: 3 }
      return { machine: await bootMachine(spec, launchOf(lab)) }
    },
    work: async (guest) => {
      if (!installed) {
        await installFunction(guest.agent, fn, { timeoutMs: callTimeoutMs, signal: lab.signal })
        installed = true
      }
      return work.work(guest)
    },
  })
}

export interface RecordFunctionOptions {
  /** Default `faults`. */
  readonly recorders?: readonly RecorderName[]
  /** Keeps the set in the snapshot under this name, for restores. */
  readonly save?: string
  /** Keeps it with the rows, for pictures and overlaps. */
  readonly show?: {
    readonly name: string
    readonly about: Readonly<Record<string, FactorValue>>
    /**
     * Also keeps who in the guest has its pages. Asked after the work, which takes some time. Default: false.
     */
    readonly explain?: boolean
  }
}

export interface RecordedFunction {
  readonly recorded: readonly RecordedPages[]
  readonly workingSet: WorkingSet
  readonly correct: boolean
  /** From the request to the function's result, while it was recorded. */
  readonly totalMs: number
  readonly stopMs: number
}

/** Emulated, there is one CPU: looking every 4 ms, as is usual, takes a good part of it from the guest. */
const nestedPollMs = 100

/** Records one invocation after a restore. */
export async function recordFunction(
  of: FunctionSnapshot,
  input: FunctionInput,
  lab: Lab,
  { recorders = ['faults'], save, show }: RecordFunctionOptions = {},
): Promise<RecordedFunction> {
  const { fn, snapshot, store, tag } = of
  const work = functionWork(of, input, lab)
  const start = performance.now()
  const { machine, recording } = await restoreMachine(store, tag, {
    ...launchOf(lab),
    engine: recorders.includes('faults') ? 'paged' : 'file',
    record: {
      recorders,
      notes: { function: fn.name },
      ...(lab.kind === 'nested' ? { pollMs: nestedPollMs } : {}),
    },
  })
  await using running: RunningMachine = machine
  if (recording === undefined)
    throw new VarveError('RECORDER_UNRELIABLE', `${recorders.join(' and ')} did not record`)
  const guest = work.attach(running)
  await work.first(guest)
  const correct = await work.work(guest)
  const totalMs = performance.now() - start
  const stopping = performance.now()
  const { workingSet, recorded } = await recording.stop()
  const stopMs = performance.now() - stopping
  if (save !== undefined) await store.saveWorkingSet(tag, save, workingSet)
  if (show !== undefined) {
    lab.keepSet(show.name, show.about, workingSet, pagesFrom(snapshot.map, zeroSource))
    if (show.explain) await keepOwners(running, workingSet, show, of, lab)
  }
  return { recorded, workingSet, correct, totalMs, stopMs }
}

/** A guest that cannot tell (its kernel, an agent of one's own) is no reason to measure nothing. */
async function keepOwners(
  machine: RunningMachine,
  workingSet: WorkingSet,
  { name, about }: NonNullable<RecordFunctionOptions['show']>,
  { store, fn }: Pick<FunctionSnapshot, 'store' | 'fn'>,
  { say, keepExplanation, signal }: Lab,
): Promise<void> {
  const begin = performance.now()
  try {
    const explanation = await explainMachine(machine, store, {
      workingSet,
      timeoutMs: callTimeoutMs,
      signal,
    })
    keepExplanation(name, about, explanation)
    say(`${fn.name}: asked who has its pages, in ${Math.round(performance.now() - begin)} ms`)
  } catch (error) {
    if (!isVarveError(error) || !/^(GUEST_|TIMEOUT$)/.test(error.code)) throw error
    say(`${fn.name}: the guest does not say who has its pages: ${error.message}`)
  }
}
