import { join } from 'node:path'
import { isVarveError, VarveError } from '../errors.js'
import type { FullVmConfiguration } from '../firecracker/api-types.js'
import { assertLabels } from '../labels.js'
import type { Image } from '../layer/image-reader.js'
import { assertFinePages } from '../layer/index-memory-file.js'
import type { MachineHandle } from '../machine/machine-handle.js'
import type { PausedMachine, RunningMachine } from '../machine/machine-states.js'
import { imageNotCome } from '../page-server/client/image-not-come.js'
import type { KeptSnapshot } from '../store/snapshot-types.js'
import { userfaultfdsOf } from '../sys/proc.js'
import { assertCapturable } from './assert-capturable.js'
import type { CapturedSnapshot, SealSnapshotOptions, TakenSnapshot, TakeOptions } from './capture-types.js'
import { type ChosenParent, chooseParent } from './choose-parent.js'
import { type LiveRequest, liveTaker, whyNotLive } from './live-taker.js'
import type { MemoryTaker } from './memory-taker.js'
import { bytesOfCopies, reserve, sealBytes } from './reserve-room.js'
import { sealTaken, type TakenForClones } from './seal-taken.js'
import { snapshotType } from './snapshot-type.js'
import { stageDisk } from './staged-disks.js'
import { stopTaker } from './stop-taker.js'
import { whatItTouched } from './touched-pages.js'
import { whyOwedIsLost } from './why-owed-is-lost.js'

/**
 * Takes a machine's state and memory into the store's staging, and copies the disks that the guest may write
 * to. A running machine stands still for it and goes on; a paused one stays paused. By default the snapshot
 * builds on the machine's last one. `seal` it afterwards, while the guest runs. On failure nothing is left.
 * `assertCapturable` refuses known problems before anything is taken. If a capture fails, or Firecracker
 * refuses (no room, for example), the next Diff holds the pages of this one; where that cannot be, the next
 * snapshot is a base, and says why.
 */
export async function takeSnapshot(
  machine: RunningMachine | PausedMachine,
  options: TakeOptions,
): Promise<TakenSnapshot> {
  return takeForClones(machine, options)
}

interface TakeWhenReady extends TakeOptions {
  readonly ready?: Promise<unknown> | undefined
}

/**
 * The same, with what cloning needs besides. `ready` is awaited before the guest is paused; if it rejects,
 * nothing has been taken.
 */
export async function takeForClones(
  machine: RunningMachine | PausedMachine,
  options: TakeWhenReady,
): Promise<TakenForClones> {
  assertLabels(options.labels ?? {})
  const { mode = 'auto' } = options
  const vmConfig = await machine.vmConfig({ signal: options.signal })
  const stop = (because: string) => takeBy(machine, vmConfig, options, 'stop', because)
  if (mode === 'stop') return stop('it was asked for')
  const obstacle =
    mode === 'auto' && machine.state === 'paused'
      ? `${machine.id} was paused already, and to prepare a live capture takes time`
      : whyNotLive(machine, vmConfig)
  if (obstacle === undefined)
    try {
      return await takeBy(machine, vmConfig, options, 'live', '')
    } catch (error) {
      if (mode === 'live' || !isObstacle(error)) throw error
      return stop(error.message)
    }
  if (mode === 'auto') return stop(obstacle)
  throw new LiveRefused(obstacle)
}

/** A VMM that is being killed is not gone at once, but answers no more. */
const answers = (machine: MachineHandle): Promise<boolean> =>
  machine.info().then(
    () => true,
    () => false,
  )

/** Found before the guest was paused. */
class LiveRefused extends VarveError {
  constructor(why: string, cause?: unknown) {
    super('HOST_UNSUPPORTED', `no live capture: ${why}`, { remedy: 'use mode auto or stop', cause })
  }
}

const isObstacle = (error: unknown): error is LiveRefused => error instanceof LiveRefused

/** Takes and seals. A paused machine stays paused; a running one stands still for the taking only. */
export async function captureSnapshot(
  machine: RunningMachine | PausedMachine,
  options: TakeOptions & SealSnapshotOptions,
): Promise<CapturedSnapshot> {
  return (await takeSnapshot(machine, options)).seal(options)
}

async function takeBy(
  machine: MachineHandle,
  vmConfig: FullVmConfiguration,
  options: TakeWhenReady,
  mode: 'live' | 'stop',
  because: string,
): Promise<TakenForClones> {
  const ifTaken = machine.snapshotsTaken
  // Leased to this process as well as to the VM, which may end before the snapshot is sealed.
  const owedProblem = mode === 'live' ? whyOwedIsLost(machine, vmConfig) : undefined
  const chosen = await chooseParent(machine, options.store, options, { mode, owedProblem })
  const parent = chosen.parent === undefined ? undefined : await options.store.keep(chosen.parent)
  try {
    return await takeOn(machine, vmConfig, { ...chosen, parent }, options, {
      ifTaken,
      mode,
      because,
      owedIsLost: owedProblem !== undefined,
    })
  } catch (error) {
    await parent?.[Symbol.asyncDispose]()
    throw error
  }
}

async function takeOn(
  machine: MachineHandle,
  vmConfig: FullVmConfiguration,
  { parent, base, lost }: Omit<ChosenParent, 'parent'> & { readonly parent: KeptSnapshot | undefined },
  options: TakeWhenReady,
  way: {
    readonly ifTaken: number
    readonly mode: 'live' | 'stop'
    readonly because: string
    readonly owedIsLost: boolean
  },
): Promise<TakenForClones> {
  const { store, signal, tags = [] } = options
  const attached = await machine.disks()
  assertCapturable({ machine: machine.id, vmConfig, parent, tags, workingSet: options.workingSet })
  const staging = await store.stage()
  let taker: MemoryTaker | undefined
  try {
    const [statePath, memoryPath] = ['state', 'memory'].map((name) => join(staging.directory, name)) as [
      string,
      string,
    ]
    const [forWritable, forReadOnly] = await bytesOfCopies(staging.directory, machine.files, attached, parent)
    const forDisks = await reserve(join(staging.directory, 'reserve-disks'), forWritable)
    const forSeal = await reserve(join(staging.directory, 'reserve'), sealBytes + forReadOnly)
    const takesOwed = way.mode === 'live' && !way.owedIsLost
    const type = snapshotType(machine, parent, base, staging.directory, takesOwed)
    if (type === 'Diff') assertFinePages(staging.directory)
    const { ifTaken, because } = way
    const request = { type, statePath, memoryPath, ifTaken }
    taker =
      way.mode === 'stop'
        ? stopTaker({ ...request, signal }, because)
        : await openLive(
            machine,
            {
              ...request,
              isBase: parent === undefined,
              image: null,
              vmConfig,
              countsFrom: type === 'Diff' ? (parent?.entry.id ?? null) : undefined,
              owedIsLost: way.owedIsLost,
            },
            options,
            parent,
          )
    const { take } = taker
    await options.ready
    const { value, standstillMs } = await machine.standStill(
      'snapshot',
      async (still) => {
        const touched =
          options.workingSet === undefined ? undefined : await whatItTouched(machine, vmConfig, options)
        const start = performance.now()
        const memory = await take(still)
        const createMs = performance.now() - start
        await forDisks.release()
        for (const disk of attached) if (!disk.readOnly) await stageDisk(machine.files, disk, staging, signal)
        return { ...memory, touched, createMs, disksMs: performance.now() - start - createMs }
      },
      { signal },
    )
    return sealTaken({
      machine,
      store,
      vmConfig,
      options,
      attached,
      parent,
      staging,
      taker,
      forSeal,
      type,
      lost,
      statePath,
      memoryPath,
      standstillMs,
      ...value,
      way: value.way(),
    })
  } catch (error) {
    await taker?.[Symbol.asyncDispose]()
    await staging[Symbol.asyncDispose]()
    throw error
  }
}

/** HOST_UNSUPPORTED (`LiveRefused`) if the machine cannot be captured live; then nothing has changed. */
async function openLive(
  machine: MachineHandle,
  request: LiveRequest,
  options: TakeOptions,
  parent: KeptSnapshot | undefined,
): Promise<MemoryTaker> {
  const notCome = request.isBase ? imageOfBase(machine, request.vmConfig) : null
  const needsParent = !machine.dirtyTracking && parent !== undefined
  const opened = needsParent
    ? await options.store.open(parent.entry.id, { signal: options.signal })
    : undefined
  try {
    const image = opened === undefined ? notCome : { map: opened.map, files: opened.files }
    const taker = await liveTaker(machine, { ...request, image }, options)
    return {
      ...taker,
      [Symbol.asyncDispose]: async () => {
        await taker[Symbol.asyncDispose]()
        await opened?.[Symbol.asyncDispose]()
      },
    }
  } catch (error) {
    await opened?.[Symbol.asyncDispose]()
    const mayGoOn =
      isVarveError(error, 'HOST_UNSUPPORTED') ||
      isVarveError(error, 'INJECTION_FAILED') ||
      isVarveError(error, 'LAUNCH_FAILED')
    if (mayGoOn && (await answers(machine))) throw new LiveRefused(error.message, error)
    throw error
  }
}

/** The image of the pages that a base needs and that have not come yet; null if all have, or none come. */
function imageOfBase(machine: MachineHandle, vmConfig: FullVmConfiguration): Image | null {
  if (userfaultfdsOf(machine.pid).length === 0) return null
  let image: Image | null
  try {
    image = imageNotCome(machine.paths.directory)
  } catch (error) {
    if (!isVarveError(error, 'HOST_UNSUPPORTED')) throw error
    throw new LiveRefused(error.message, error)
  }
  // A page that is not there may have been given back, and is zero then.
  if (image !== null && (vmConfig.balloon ?? null) !== null)
    throw new LiveRefused(`${machine.id} has a balloon, and pages that have not come yet`)
  return image
}
