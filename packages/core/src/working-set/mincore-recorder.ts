import { setTimeout as sleep } from 'node:timers/promises'
import { VarveError } from '../errors.js'
import { type ExtentMap, imagePages } from '../layer/extent-map.js'
import type { LayerFile } from '../layer/layer-types.js'
import { type MemoryFile, openStoredPages } from '../layer/memory-file.js'
import { throwIfAborted } from '../layer/throw-if-aborted.js'
import { emptyPageSet, type PageSet, pageSetFromBytes } from '../memory/page-set.js'
import { minus, union, unionAll } from '../memory/page-set-algebra.js'
import { pageSizeBytes } from '../memory/units.js'
import { dropPageCache } from '../sys/fadvise.js'
import { canSeeResidency, residentPages } from '../sys/mincore.js'
import { residentBytes } from '../sys/proc.js'
import type { RecordedPages, Recording } from './recording.js'

/** FaaSnap's values: a scan whenever the VMM has grown by 4 MiB, looked for every 4 ms. */
const defaultGrowthPages = 1024
const defaultPollMs = 4

/** A page that is just being read or written back does not drop at once. */
const dropAttempts = 5
const dropPauseMs = 20

export interface RecordMincoreOptions {
  /**
   * The files that the VM's memory comes from: the layers of `map` in its order (base first), or, without a map, the one
   * flat memory file.
   */
  readonly files: readonly LayerFile[]
  /** How pages of those files lie in the image. A layer page that the image does not take from there does not count. */
  readonly map?: ExtentMap | undefined
  /** The process whose growth starts a scan: the VMM. */
  readonly vmmPid: number
  readonly rssGrowthPages?: number
  readonly pollMs?: number
  /** Ends the recording; `stop` then throws INTERRUPTED. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Records which pages of memory files come into the page cache, from now on: call it before the snapshot is loaded. Drops
 * the files' cached pages first, then looks with mincore(2) whenever the VMM has grown, on request, and at the end.
 *
 * Residency is a property of the file, not of one VM, and the kernel reads around: `present` is a superset of what was
 * touched (docs/notes/mincore-overcount.md: by how much). Refuses with RECORDER_UNRELIABLE where it would say nothing:
 * residency hidden from this user (neither owner nor writer of the file), or pages that stay resident (mapped by somebody
 * else, or a file system in memory such as tmpfs).
 */
export async function recordMincore(options: RecordMincoreOptions): Promise<Recording> {
  const { files, map, signal, rssGrowthPages = defaultGrowthPages, pollMs = defaultPollMs } = options
  if (files.length === 0 || (map === undefined && files.length !== 1))
    throw new VarveError(
      'INVALID_ARGUMENT',
      `${files.length} memory files without an extent map: one is needed`,
    )
  if (!(rssGrowthPages >= 1) || !(pollMs >= 1))
    throw new VarveError(
      'INVALID_ARGUMENT',
      `rssGrowthPages ${rssGrowthPages} and pollMs ${pollMs} must be 1 or more`,
    )
  if (rssPages(options.vmmPid) === null)
    throw new VarveError('NOT_FOUND', `there is no process ${options.vmmPid} to record`)
  const opened: MemoryFile[] = []
  try {
    for (const file of files) {
      const { path } = file
      throwIfAborted(signal, 'the recording')
      if (!(await canSeeResidency(path)))
        throw new VarveError(
          'RECORDER_UNRELIABLE',
          `the kernel hides from this user which pages of ${path} are in the page cache`,
          { remedy: 'record as the owner of the file, or as somebody who may write it' },
        )
      opened.push(await openStoredPages(file))
    }
    for (const file of opened) await dropAndCheck(file, signal)
  } catch (error) {
    await close(opened)
    throw error
  }
  return new MincoreRecording(opened, { map, vmmPid: options.vmmPid, rssGrowthPages, pollMs, signal })
}

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
    `${stayed} pages of ${file.path} stay in the page cache, so what a VM touches among them cannot be seen`,
    {
      remedy: 'record before the snapshot is loaded, with no other VM on the file, and not on tmpfs',
      details: { path: file.path, residentPages: stayed },
    },
  )
}

interface Watch {
  readonly map: ExtentMap | undefined
  readonly vmmPid: number
  readonly rssGrowthPages: number
  readonly pollMs: number
  readonly signal: AbortSignal | undefined
}

class MincoreRecording implements Recording {
  scans = 0
  private readonly files: readonly MemoryFile[]
  private readonly watch: Watch
  private readonly groups: PageSet[] = []
  private present: PageSet = emptyPageSet
  private rssAtScan: number
  private failure: unknown
  private ended = false
  private readonly timer: NodeJS.Timeout

  constructor(files: readonly MemoryFile[], watch: Watch) {
    this.files = files
    this.watch = watch
    this.rssAtScan = rssPages(watch.vmmPid) ?? 0
    this.timer = setInterval(() => this.poll(), watch.pollMs)
  }

  private poll(): void {
    try {
      throwIfAborted(this.watch.signal, 'the recording')
      const rss = rssPages(this.watch.vmmPid)
      // The VMM has ended: nothing more will be touched; `stop` still takes the last look.
      if (rss === null) clearInterval(this.timer)
      else if (rss - this.rssAtScan >= this.watch.rssGrowthPages) this.look()
      else if (rss < this.rssAtScan) this.rssAtScan = rss
    } catch (error) {
      this.failure = error
      clearInterval(this.timer)
    }
  }

  scan(): void {
    this.assertGoing()
    this.look()
  }

  private look(): void {
    const { map, vmmPid } = this.watch
    const found = this.files.map((file, index) => {
      const resident = pageSetFromBytes(residentPages(file.handle.fd, file.pages))
      return map === undefined ? resident : imagePages(map, index, resident)
    })
    const fresh = minus(unionAll(found), this.present)
    this.scans++
    this.rssAtScan = rssPages(vmmPid) ?? this.rssAtScan
    if (fresh.pages === 0) return
    this.groups.push(fresh)
    this.present = union(this.present, fresh)
  }

  async stop(): Promise<RecordedPages> {
    try {
      this.scan()
      return { present: this.present, groups: this.groups, scans: this.scans }
    } finally {
      await this[Symbol.asyncDispose]()
    }
  }

  private assertGoing(): void {
    if (this.ended) throw new VarveError('MACHINE_STATE', 'this recording has ended')
    if (this.failure !== undefined) throw this.failure
    throwIfAborted(this.watch.signal, 'the recording')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.ended) return
    this.ended = true
    clearInterval(this.timer)
    await close(this.files)
  }
}

async function close(files: readonly MemoryFile[]): Promise<void> {
  await Promise.all(files.map((file) => file[Symbol.asyncDispose]()))
}

function rssPages(pid: number): number | null {
  const bytes = residentBytes(pid)
  return bytes === null ? null : bytes / pageSizeBytes
}
