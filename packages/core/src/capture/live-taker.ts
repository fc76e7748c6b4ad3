import { randomBytes } from 'node:crypto'
import { readdirSync, rmSync } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { freemem, totalmem } from 'node:os'
import { join } from 'node:path'
import { VarveError } from '../errors.js'
import type { FullVmConfiguration } from '../firecracker/api-types.js'
import { memoryPagesOf } from '../firecracker/memory-pages.js'
import { Freezer } from '../freezer/freezer.js'
import { warmFreezer } from '../freezer/freezer-process.js'
import type { Image } from '../layer/image-reader.js'
import { hasFinePages } from '../layer/index-memory-file.js'
import { heldNotePath } from '../machine/held-note.js'
import type { MachineHandle } from '../machine/machine-handle.js'
import { pageSizeBytes } from '../memory/units.js'
import { copyWithHoles } from '../sys/copy-with-holes.js'
import { isAlive, processIdentity } from '../sys/proc.js'
import type { TakeOptions } from './capture-types.js'
import type { MemoryTaker } from './memory-taker.js'

export interface LiveRequest {
  readonly type: 'Full' | 'Diff'
  /** Whether a hole of the memory file is zero: there is no parent. */
  readonly isBase: boolean
  /**
   * Of a base: the image of pages that have not come yet. Else, of a machine without a log: the image that
   * pages are compared with.
   */
  readonly image: Image | null
  readonly ifTaken: number
  readonly statePath: string
  readonly memoryPath: string
  readonly vmConfig: FullVmConfiguration
  /** As in `LiveSnapshotOptions`. */
  readonly countsFrom: string | null | undefined
  readonly owedIsLost: boolean
}

/** With the process that made it, by pid and start time. */
const ownFile = /^(?:live-(?:state|diff|taken)-|held-for-capture\.)(\d+)-(\d+)-[0-9a-f]{12}$/
/** Of a freezer; there only within a step of the machine, and so of one process at a time. */
const owedTemporary = /^owed-pages\.\d+$/
/** Of a freezer, by its pid, before the guest is paused. */
const rehearsal = /^rehearsal\.(\d+)(?:\.\d+)?$/

/** Removes what captures left that were killed. */
function removeLeftovers(directory: string): void {
  for (const it of readdirSync(directory)) {
    const [, pid, startTime] = ownFile.exec(it) ?? []
    const [, freezer] = rehearsal.exec(it) ?? []
    const ended =
      (pid !== undefined && !isAlive({ pid: Number(pid), startTime: Number(startTime) })) ||
      (freezer !== undefined && processIdentity(Number(freezer)) === undefined)
    if (ended) rmSync(join(directory, it), { force: true })
  }
}

/** To be called within a step of the machine, when this process's own freezer writes none. */
function removeOwedTemporaries(directory: string): void {
  for (const it of readdirSync(directory))
    if (owedTemporary.test(it)) rmSync(join(directory, it), { force: true })
}

/** Starts what the next `liveTaker` needs. */
export const warmUpLive = warmFreezer

/**
 * Varve takes the memory. Made while the guest runs, with all that needs time. Errors of `Freezer.attach`:
 * then nothing has changed.
 */
export async function liveTaker(
  machine: MachineHandle,
  request: LiveRequest,
  { freeze = 'auto', mostCopiedBytes = Math.max(0, freemem() - totalmem() / 8), signal }: TakeOptions,
): Promise<MemoryTaker> {
  const { type, isBase, ifTaken, countsFrom, owedIsLost, statePath, memoryPath, vmConfig } = request
  const logged = machine.dirtyTracking
  const memoryPages = memoryPagesOf(vmConfig)
  const freezer = await Freezer.start()
  // State and Diff are synced by Firecracker: that costs nothing in the runtime directory, which is in
  // memory.
  const self = processIdentity(process.pid)
  const name = `${process.pid}-${self?.startTime}-${randomBytes(6).toString('hex')}`
  const { directory } = machine.paths
  const [stateThere, diffThere] = ['state', 'diff'].map((it) => join(directory, `live-${it}-${name}`)) as [
    string,
    string,
  ]
  const stateFile = machine.files.output(stateThere)
  const forget = () => {
    stateFile.discard()
    for (const path of [stateThere, diffThere]) rmSync(path, { force: true })
  }
  let state: FileHandle | undefined
  let heldMs: number
  try {
    removeLeftovers(directory)
    const attached = await freezer.attach({
      vmm: machine.identity,
      memoryBytes: memoryPages * pageSizeBytes,
      logged,
      directory,
      heldNotePath: heldNotePath(directory, name),
    })
    heldMs = attached.heldMs
    const isPaused = (await machine.info({ signal })).state === 'Paused'
    const resumeBy = isPaused ? null : machine.paths.apiSocket
    await freezer.hold({ statePath: stateFile.make(), resumeBy })
  } catch (error) {
    forget()
    await freezer[Symbol.asyncDispose]()
    throw orEnded(machine, error)
  }
  const hasDiff = logged && type === 'Diff'
  return {
    take: async (still) => {
      let how: 'copy' | 'fork' = 'fork'
      let written: number | null = null
      const pages = type === 'Full' ? 'all' : logged ? 'written' : 'private'
      const { taken } = await still.writeLive({
        state: stateFile,
        diffPath: hasDiff ? diffThere : null,
        ifTaken,
        countsFrom,
        owedIsLost,
        signal,
        take: async (place) => {
          const frozen = await freezer.take({ log: logged ? place : null, pages, how: freeze })
          how = frozen.how
          return frozen.child
        },
        keepDiff: async () => {
          written = await freezer.keepDiff({ diffPath: diffThere })
        },
        abandon: () => freezer.kill(),
      })
      still.afterwards(async () => {
        await freezer.goesOn()
        // The machine's directory goes with the machine, which may end before this is sealed.
        state = await open(stateThere, 'r').catch((error: unknown) => {
          throw orEnded(machine, error)
        })
        rmSync(diffThere, { force: true })
        removeOwedTemporaries(directory)
      })
      const because = how === 'fork' ? 'its memory was forked' : 'what was written was copied'
      return { taken, way: () => ({ mode: 'live', because, frozen: { how, pages: written, heldMs } }) }
    },
    describe: async () => {
      const takenPath = join(directory, `live-taken-${name}`)
      const { source, taken } = await freezer.describe(takenPath, memoryPages)
      const notCome = isBase ? request.image : null
      return { statePath: stateThere, source, taken, notCome, mostCopiedBytes }
    },
    finish: async ({ keep = false, ...options }) => {
      const handle = state as FileHandle
      state = undefined
      try {
        await copyWithHoles({ path: stateThere, open: async () => handle }, statePath, options)
      } finally {
        // Also if it was not opened. To close it twice does no harm.
        await handle.close()
      }
      await freezer.write(
        {
          path: memoryPath,
          kind: isBase ? 'base' : 'diff',
          image: request.image,
          mostCopiedBytes,
          keep,
        },
        options,
      )
    },
    release: async () => {
      await freezer.release()
    },
    [Symbol.asyncDispose]: async () => {
      forget()
      await state?.close()
      await freezer[Symbol.asyncDispose]()
    },
  }
}

/** The directory goes with the machine. */
function orEnded({ id }: MachineHandle, error: unknown): unknown {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return error
  return new VarveError('MACHINE_EXITED', `${id} ended, and its directory went with it`, { cause: error })
}

/** Why a machine cannot be captured live at all; undefined if it is worth trying. */
export function whyNotLive(machine: MachineHandle, vmConfig: FullVmConfiguration): string | undefined {
  if (process.arch !== 'x64') return `a live capture needs x86_64, not ${process.arch}`
  if ((vmConfig['memory-hotplug']?.total_size_mib ?? 0) > 0)
    return `${machine.id} has memory for hot-plugging`
  // docs/notes/huge-pages.md
  if ((vmConfig['machine-config'].huge_pages ?? 'None') !== 'None')
    return `${machine.id} has huge pages: while its memory stands frozen each write takes another one, and without one the VM would end or hang`
  if (!hasFinePages(machine.paths.directory))
    return `files in ${machine.paths.directory} cannot have holes of one page`
  return undefined
}
