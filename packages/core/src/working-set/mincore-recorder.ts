import { setTimeout as sleep } from 'node:timers/promises'
import { VarveError } from '../errors.js'
import { imagePages } from '../layer/extent-map.js'
import { type MemoryFile, openStoredPages } from '../layer/memory-file.js'
import { throwIfAborted } from '../layer/throw-if-aborted.js'
import { pageSetFromBytes } from '../memory/make-page-set.js'
import { unionAll } from '../memory/page-set-algebra.js'
import { dropPageCache } from '../sys/fadvise.js'
import { canSeeResidency, residentPages } from '../sys/mincore.js'
import { type GrowthOptions, GrowthWatch } from './growth-watch.js'
import { checkTarget, pagesOfTarget } from './record-target.js'
import type { Recorder, Recording, RecordOptions, RecordTarget } from './recording.js'
import { checkLimits, type Look, type RecordingSource, runRecording } from './run-recording.js'

/** A page that is just being read or written back does not drop at once. */
const dropAttempts = 5
const dropPauseMs = 20

/** Options of `recordMincore`. */
export interface RecordMincoreOptions extends RecordOptions, GrowthOptions {}

/**
 * Records which pages of memory files come into the page cache, from now on: call it before the snapshot is
 * loaded. Drops the files' cached pages first, then looks with mincore(2) whenever the VMM has grown, on
 * request, and at the end.
 *
 * Residency is a property of the file, not of one VM, and the kernel reads around: `present` is a superset of
 * what was touched (docs/notes/mincore-overcount.md: by how much). Refuses with RECORDER_UNRELIABLE if it
 * would say nothing: residency hidden from this user (neither owner nor writer of the file), or pages that
 * stay resident (mapped by another process, or a file system in memory such as tmpfs).
 */
export async function recordMincore(
  target: RecordTarget,
  options: RecordMincoreOptions = {},
): Promise<Recording> {
  const { signal } = options
  checkTarget(target)
  checkLimits(options)
  const watch = new GrowthWatch(target.vmm, options)
  const opened: MemoryFile[] = []
  try {
    for (const file of target.files) {
      const { path } = file
      throwIfAborted(signal, 'the recording')
      if (!canSeeResidency(path))
        throw new VarveError(
          'RECORDER_UNRELIABLE',
          `the kernel hides from this user which pages of ${path} are in the page cache`,
          { remedy: 'record as the owner of the file, or as a user who may write it' },
        )
      opened.push(await openStoredPages(file))
    }
    for (const file of opened) await dropAndCheck(file, signal)
    throwIfAborted(signal, 'the recording')
  } catch (error) {
    await close(opened)
    throw error
  }
  return runRecording(new MincoreSource(target, opened, watch), options)
}

/** The recorder `mincore`. */
export const mincoreRecorder: Recorder<RecordMincoreOptions> = { name: 'mincore', start: recordMincore }

async function dropAndCheck(file: MemoryFile, signal: AbortSignal | undefined): Promise<void> {
  let stayed = 0
  for (let attempt = 0; attempt < dropAttempts; attempt++) {
    throwIfAborted(signal, 'the recording')
    if (attempt > 0) await sleep(dropPauseMs)
    dropPageCache(file.handle.fd)
    stayed = pageSetFromBytes(residentPages(file.handle.fd, file.pages)).pages
    if (stayed === 0) return
  }
  throw new VarveError(
    'RECORDER_UNRELIABLE',
    `${stayed} pages of ${file.path} stay in the page cache, so the recorder cannot see which of them a VM touches`,
    {
      remedy: 'record before the snapshot is loaded, with no other VM on the file, and not on tmpfs',
      details: { path: file.path, residentPages: stayed },
    },
  )
}

class MincoreSource implements RecordingSource {
  readonly recorder = 'mincore'
  readonly sees = { present: true, written: false }
  readonly pages: number
  readonly poll: GrowthWatch
  readonly #target: RecordTarget
  readonly #files: readonly MemoryFile[]

  constructor(target: RecordTarget, files: readonly MemoryFile[], watch: GrowthWatch) {
    this.pages = pagesOfTarget(target)
    this.poll = watch
    this.#target = target
    this.#files = files
  }

  look(sinceBegin: () => number): Look {
    const { map } = this.#target
    // Before the files: a VMM that has ended touches nothing after them.
    const ended = this.poll.hasEnded() ? ({ ended: 'vmm' } as const) : {}
    const found = this.#files.map((file, index) => {
      const resident = pageSetFromBytes(residentPages(file.handle.fd, file.pages))
      return map === undefined ? resident : imagePages(map, index, resident)
    })
    this.poll.looked()
    return { touched: [{ atMs: sinceBegin(), set: unionAll(found) }], ...ended }
  }

  describe() {
    return {
      exact: { present: false, written: false },
      notes: {
        present: 'pages in the page cache: with what the kernel read around them, and what others read',
      },
    }
  }

  close(): Promise<void> {
    return close(this.#files)
  }
}

async function close(files: readonly MemoryFile[]): Promise<void> {
  await Promise.all(files.map((file) => file[Symbol.asyncDispose]()))
}
