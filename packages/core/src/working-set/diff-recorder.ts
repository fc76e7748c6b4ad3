import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { VarveError } from '../errors.js'
import { assertFinePages, indexMemoryFile } from '../layer/index-memory-file.js'
import { throwIfAborted } from '../layer/throw-if-aborted.js'
import { onProcessEnd } from '../sys/exit-hooks.js'
import { writtenPages } from './classify-run.js'
import { checkTarget, pagesOfTarget } from './record-target.js'
import type { DiffSource, Recorder, Recording, RecordOptions, RecordTarget } from './recording.js'
import { checkLimits, type Look, type RecordingSource, runRecording } from './run-recording.js'

/** Options of `recordDiff`. */
export interface RecordDiffOptions extends RecordOptions {
  /**
   * Where the Diff is written for as long as it is read: a file for each written page and the state. Default
   * the temporary directory of the system.
   */
  readonly directory?: string
}

/**
 * Records which pages were written since the VM was loaded, also if the recording began later: takes a Diff
 * at the end, for which the guest stands still, reads from it which pages it holds, and removes it. Nothing
 * is looked at before the end.
 *
 * The machine's next Diff counts from that one, which is gone: the next snapshot of this machine is a Full.
 * If one is to be taken as a Diff anyway, take that and look at its layer (`writtenPages`).
 *
 * Exact on file memory, but for pages that Firecracker itself writes. With a page server KVM can count read
 * pages too (docs/notes/kvm-dirty-log.md). Errors at the end: RECORDER_UNRELIABLE if the machine does not log
 * written pages, or a snapshot was taken of it meanwhile (IMAGE_MISMATCH).
 */
export async function recordDiff(target: RecordTarget, options: RecordDiffOptions = {}): Promise<Recording> {
  const { directory = tmpdir(), signal } = options
  checkTarget(target)
  checkLimits(options)
  throwIfAborted(signal, 'the recording')
  const { machine } = target
  if (machine === undefined)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `the target ${target.vmm.pid} carries no machine to take a Diff of`,
    )
  assertFinePages(directory)
  return runRecording(new DiffRecordingSource(target, machine, { directory, signal }), options)
}

/** The recorder `diff`. */
export const diffRecorder: Recorder<RecordDiffOptions> = { name: 'diff', start: recordDiff }

class DiffRecordingSource implements RecordingSource {
  readonly recorder = 'diff'
  readonly sees = { present: false, written: true }
  readonly pages: number
  readonly #target: RecordTarget
  readonly #machine: DiffSource
  readonly #taken: number
  readonly #options: { readonly directory: string; readonly signal: AbortSignal | undefined }
  #guestStoodStillMs = 0

  constructor(
    target: RecordTarget,
    machine: DiffSource,
    options: { readonly directory: string; readonly signal: AbortSignal | undefined },
  ) {
    this.pages = pagesOfTarget(target)
    this.#target = target
    this.#machine = machine
    this.#taken = machine.snapshotsTaken
    this.#options = options
  }

  async look(_sinceBegin: () => number, last: boolean): Promise<Look> {
    if (!last) return { touched: [] }
    if (!this.#machine.dirtyTracking)
      throw new VarveError(
        'RECORDER_UNRELIABLE',
        `process ${this.#target.vmm.pid} does not log which pages are written, so a Diff holds all that are resident`,
        { remedy: 'restore with trackDirtyPages, which is the default' },
      )
    const { signal } = this.#options
    const directory = mkdtempSync(join(this.#options.directory, 'varve-diff-'))
    const remove = () => rmSync(directory, { recursive: true, force: true })
    const takeBack = onProcessEnd(remove)
    try {
      const memoryPath = join(directory, 'memory')
      const from = performance.now()
      await this.#machine.takeDiff({
        statePath: join(directory, 'state'),
        memoryPath,
        // A Diff that another caller took meanwhile has taken the first part of what was written.
        ifTaken: this.#taken,
        signal,
      })
      this.#guestStoodStillMs = Math.ceil(performance.now() - from)
      const { index } = await indexMemoryFile(memoryPath, { kind: 'diff', signal })
      return { touched: [], written: writtenPages(index) }
    } finally {
      remove()
      takeBack()
    }
  }

  describe() {
    // Only a page server's VM has its memory in layers.
    const onFile = this.#target.map === undefined
    return {
      exact: { present: false, written: onFile },
      notes: {
        diff: {
          guestStoodStillMs: this.#guestStoodStillMs,
          ...(onFile ? {} : { alsoRead: 'where KVM maps read pages of Uffd memory writable' }),
        },
      },
    }
  }

  close(): void {}
}
