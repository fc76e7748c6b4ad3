import { VarveError } from '../errors.js'
import { pageSizeBytes } from '../memory/units.js'
import { cloneRange, copyFileRange, truncate, type WritableFile } from '../sys/mutations.js'
import { CoalescingWriter } from './coalescing-writer.js'
import { type CopyPiece, countDataPages, windowsOf } from './copy-windows.js'
import { EarlySync } from './early-sync.js'
import type { ExtentMap } from './extent-map.js'
import type { ImageLayers } from './image-reader.js'
import type { CopyMethod } from './layer-types.js'
import type { MemoryFile } from './memory-file.js'
import { turnTaker } from './take-turns.js'
import { throwIfAborted } from './throw-if-aborted.js'

/** How the data of a new file came there. */
export interface CopyReport {
  /** The one method, 'mixed', or 'none' if there was no data. */
  readonly method: CopyMethod | 'mixed' | 'none'
  /** How many data pages came by each method. */
  readonly pagesBy: Readonly<Record<CopyMethod, number>>
  /**
   * Bytes whose blocks are shared with the sources: what FICLONERANGE brought.
   * They need no space of their own.
   */
  readonly sharedBytes: number
}

export interface CopyOptions {
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
  /** Data pages copied so far, of all that will be copied. */
  readonly onProgress?: ((copiedPages: number, totalPages: number) => void) | undefined
}

/**
 * A clone costs about 20 µs however long it is (XFS), a page that is read, written and synced about 2.5
 * µs. Where a window's pieces are shorter than this on average they are read and written. Cloning is
 * already slower for pieces of up to some eight pages, but shares their blocks, and never takes more
 * than two or three times as long.
 */
const worthCloningPages = 2

/**
 * A piece up to this long that lies within a long stretch of another file is copied over that stretch, which
 * saves breaking the stretch's one large copy_file_range into three calls.
 */
const overlayPages = 8

/**
 * Fills a new file with pages of other files: page p of the file is what `content` says of p, and
 * its zero runs become holes. For each source file the best that the pair of file systems can do is
 * found out by trying: sharing blocks (FICLONERANGE), copying in the kernel (copy_file_range),
 * reading and writing; short pieces are always read and written. What is written is synced while
 * more is copied; the caller syncs at the end.
 */
export async function copyPages(
  content: ExtentMap,
  files: ImageLayers,
  out: WritableFile,
  { signal, onProgress }: CopyOptions = {},
): Promise<CopyReport> {
  const { nlink } = await out.handle.stat()
  if (nlink > 1)
    throw new VarveError('PATH_INVALID', `${out.path} has ${nlink} names; it is not written to`, {
      remedy: 'write into a new file',
    })
  truncate(out, content.pages * pageSizeBytes)
  const copier = new Copier(files, out)
  const totalPages = countDataPages(content)
  const takeTurns = turnTaker()
  await using earlySync = new EarlySync(out)
  let copied = 0
  for (const window of windowsOf(content)) {
    throwIfAborted(signal, out.path)
    await copier.copyWindow(window)
    const pages = window.reduce((sum, { count }) => sum + count, 0)
    copied += pages
    earlySync.wrote(pages)
    onProgress?.(copied, totalPages)
    await takeTurns(pages)
  }
  throwIfAborted(signal, out.path)
  await earlySync.finish()
  return copier.report()
}

class Copier {
  readonly #files: ImageLayers
  readonly #out: WritableFile
  readonly #writer: CoalescingWriter
  /** By source; FICLONERANGE until it turned out not to work. */
  readonly #methods = new Map<number, CopyMethod>()
  readonly #pagesBy = { FICLONERANGE: 0, copy_file_range: 0, 'read-write': 0 }

  constructor(files: ImageLayers, out: WritableFile) {
    this.#files = files
    this.#out = out
    this.#writer = new CoalescingWriter(out)
  }

  /**
   * The long pieces first, then the short ones, some of them over a stretch that
   * was copied through below them.
   */
  async copyWindow(window: readonly CopyPiece[]): Promise<void> {
    const coarse = window.length * worthCloningPages <= window.reduce((sum, { count }) => sum + count, 0)
    const short: CopyPiece[] = []
    const inKernel: CopyPiece[] = []
    for (const piece of window) {
      const method = this.#methods.get(piece.source) ?? 'FICLONERANGE'
      if (method === 'FICLONERANGE' && !coarse && this.#methods.has(piece.source)) short.push(piece)
      else if (method === 'FICLONERANGE' && this.#clone(piece)) continue
      else if (this.#methods.get(piece.source) === 'copy_file_range') inKernel.push(piece)
      else short.push(piece)
    }
    this.#copyStretches(inKernel, short)
    short.sort((a, b) => a.page - b.page)
    for (const piece of short) {
      await this.#writer.copy(this.#files.layer(piece.source), piece.storedPage, piece.page, piece.count)
      this.#pagesBy['read-write'] += piece.count
    }
    this.#writer.flush()
  }

  #clone({ source, storedPage, page, count }: CopyPiece): boolean {
    const { handle } = this.#files.layer(source)
    const [from, to, length] = [storedPage * pageSizeBytes, page * pageSizeBytes, count * pageSizeBytes]
    const cloned = cloneRange(handle.fd, from, this.#out, to, length)
    this.#methods.set(source, cloned ? 'FICLONERANGE' : 'copy_file_range')
    if (cloned) this.#pagesBy.FICLONERANGE += count
    return cloned
  }

  /**
   * Pieces that continue each other in one source, but for gaps that short pieces fill, are
   * copied in one call, gaps and all. What a call does not do (a short piece, or a pair of file
   * systems that cannot) goes to `short`.
   */
  #copyStretches(pieces: readonly CopyPiece[], short: CopyPiece[]): void {
    let stretch: { source: number; storedPage: number; page: number; end: number; pages: number } | undefined
    let coveredTo = -1
    const members: CopyPiece[] = []
    const finish = () => {
      if (stretch === undefined) return
      const { source, storedPage, page, end, pages } = stretch
      if (this.#copyInKernel(source, storedPage, page, end - page)) this.#pagesBy.copy_file_range += pages
      else short.push(...members)
      members.length = 0
      stretch = undefined
    }
    for (const piece of pieces) {
      const { source, storedPage, page, count } = piece
      if (page !== coveredTo) finish()
      coveredTo = page + count
      const continues =
        stretch !== undefined &&
        stretch.source === source &&
        storedPage - page === stretch.storedPage - stretch.page &&
        page - stretch.end <= overlayPages
      if (stretch !== undefined && continues) {
        stretch.end = page + count
        stretch.pages += count
        members.push(piece)
      } else if (count <= overlayPages) short.push(piece)
      else {
        finish()
        stretch = { source, storedPage, page, end: page + count, pages: count }
        members.push(piece)
      }
    }
    finish()
  }

  #copyInKernel(source: number, storedPage: number, page: number, count: number): boolean {
    if (this.#methods.get(source) === 'read-write') return false
    const file = this.#files.layer(source)
    const [from, to, length] = [storedPage * pageSizeBytes, page * pageSizeBytes, count * pageSizeBytes]
    const copied = copyFileRange(file.handle.fd, from, this.#out, to, length)
    if (copied === length) return true
    if (copied !== undefined) throw cutOff(file, from + copied)
    this.#methods.set(source, 'read-write')
    return false
  }

  report(): CopyReport {
    const used = (Object.keys(this.#pagesBy) as CopyMethod[]).filter((method) => this.#pagesBy[method] > 0)
    const [only = 'none', ...more] = used
    return {
      method: more.length > 0 ? 'mixed' : only,
      pagesBy: { ...this.#pagesBy },
      sharedBytes: this.#pagesBy.FICLONERANGE * pageSizeBytes,
    }
  }
}

function cutOff(file: MemoryFile, atBytes: number): VarveError {
  return new VarveError(
    'IMAGE_MISMATCH',
    `${file.path} ends at byte ${atBytes}, within its ${file.pages} pages`,
    { details: { path: file.path, offset: atBytes } },
  )
}
