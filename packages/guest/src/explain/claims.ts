import { brokenReport } from './broken-report.js'
import { maxClaimedFrames, maxClaims, maxGroupedClaims, maxNameBytes } from './explain-limits.js'
import type { OwnerPart } from './explanation.js'
import type { GuestFrames } from './guest-frames.js'
import type { GuestProcess, OwnerReportReader, ReportedRun } from './owner-report.js'
import type { Pace } from './pace.js'

/** That a process has a page, or a file. */
export interface Claim {
  readonly part: OwnerPart
  readonly name: string
  readonly process: GuestProcess | undefined
  /** Of the process that asks: it was not there before. */
  readonly asks: boolean
}

/** Takes a report, and keeps who has the wanted pages. */
export class Claims implements OwnerReportReader {
  readonly #frames: GuestFrames
  readonly #wanted: Uint8Array
  readonly #claims: Claim[] = []
  readonly #numbers = new Map<string, number>()
  /** Pairs, in the order of the report: a page, and the number of a claim. */
  #pages = new Uint32Array(4096)
  #owners = new Uint32Array(4096)
  #length = 0
  #claimedFrames = 0
  #nameBytes = 0
  #process: (GuestProcess & { readonly asks: boolean }) | undefined
  #path = ''

  /** `wanted`: 1 for each page of the image that is asked for. */
  constructor(frames: GuestFrames, wanted: Uint8Array) {
    this.#frames = frames
    this.#wanted = wanted
  }

  process(process: GuestProcess & { readonly asks: boolean }): void {
    this.#process = process
    this.#path = ''
  }

  mapping({ path }: { readonly path: string }): void {
    this.#path = path
  }

  file({ path }: { readonly path: string }): void {
    this.#process = undefined
    this.#path = path
  }

  run({ frame, count, ofFile }: ReportedRun): void {
    this.#claimedFrames += count
    if (this.#claimedFrames > maxClaimedFrames)
      throw brokenReport(`runs of more than ${maxClaimedFrames} frames`)
    let claim = -1
    this.#frames.forEachPart(frame, count, (page, _, pages) => {
      for (let it = page; it < page + pages; it++) {
        if (this.#wanted[it] !== 1) continue
        if (claim < 0) claim = this.#numberOf(ofFile)
        this.#add(it, claim)
      }
    })
  }

  #numberOf(ofFile: boolean): number {
    const { part, name } = claimOf(this.#path, ofFile)
    const { pid, asks = false } = this.#process ?? {}
    const key = `${pid} ${part} ${name}`
    const known = this.#numbers.get(key)
    if (known !== undefined) return known
    const number = this.#claims.length
    this.#nameBytes += name.length
    if (this.#nameBytes > maxNameBytes) throw brokenReport(`more than ${maxNameBytes} bytes of names`)
    this.#claims.push({ part, name, process: processOf(this.#process), asks })
    this.#numbers.set(key, number)
    return number
  }

  #add(page: number, claim: number): void {
    if (this.#length === maxClaims) throw brokenReport(`more than ${maxClaims} owners of pages`)
    if (this.#length === this.#pages.length) {
      this.#pages = doubled(this.#pages)
      this.#owners = doubled(this.#owners)
    }
    this.#pages[this.#length] = page
    this.#owners[this.#length++] = claim
  }

  /**
   * Each page that has owners, ascending. Pages with the same owners form a group, which is one object:
   * owners in the order in which the report named them first.
   */
  async forEachPage(each: (page: number, group: readonly Claim[]) => void, pace: Pace): Promise<void> {
    const { ends, sorted } = await this.#byPage(pace)
    const groups = new Map<string, readonly Claim[]>()
    let [grouped, start] = [0, 0]
    let last = { numbers: new Uint32Array(0), group: [] as readonly Claim[] }
    for (let page = 0; page < ends.length; page++) {
      const end = ends[page] as number
      if (pace.isDue(1 + 10 * (end - start))) await pace.rest()
      if (end === start) continue
      const numbers = ascending(sorted.subarray(start, end))
      start = end
      if (!areEqual(numbers, last.numbers)) {
        const key = numbers.join()
        let group = groups.get(key)
        if (group === undefined) {
          grouped += numbers.length
          if (grouped > maxGroupedClaims)
            throw brokenReport(`more than ${maxGroupedClaims} owners of pages that differ in their owners`)
          group = Array.from(numbers, (number) => this.#claims[number] as Claim)
          groups.set(key, group)
        }
        last = { numbers, group }
      }
      each(page, last.group)
    }
  }

  /** The numbers of claims by page; `ends` has where those of each page end. */
  async #byPage(
    pace: Pace,
  ): Promise<{ readonly ends: Uint32Array; readonly sorted: Uint32Array<ArrayBuffer> }> {
    const [pages, owners] = [this.#pages, this.#owners]
    const ends = new Uint32Array(this.#wanted.length)
    await pace.forRange(this.#length, (from, to) => {
      for (let i = from; i < to; i++) (ends[pages[i] as number] as number)++
    })
    // First where those of a page begin, which each of its claims moves on.
    let before = 0
    await pace.forRange(ends.length, (from, to) => {
      for (let page = from; page < to; page++) {
        const count = ends[page] as number
        ends[page] = before
        before += count
      }
    })
    const sorted = new Uint32Array(this.#length)
    await pace.forRange(this.#length, (from, to) => {
      for (let i = from; i < to; i++) {
        const page = pages[i] as number
        const at = ends[page] as number
        sorted[at] = owners[i] as number
        ends[page] = at + 1
      }
    })
    return { ends, sorted }
  }
}

function doubled(all: Uint32Array): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(all.length * 2)
  larger.set(all)
  return larger
}

/** Each number once. Changes `numbers`. */
function ascending(numbers: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  numbers.sort()
  let length = 0
  for (const number of numbers) if (length === 0 || number !== numbers[length - 1]) numbers[length++] = number
  return numbers.subarray(0, length)
}

const areEqual = (a: Uint32Array, b: Uint32Array): boolean =>
  a.length === b.length && a.every((number, i) => number === b[i])

const processOf = (it: (GuestProcess & { readonly asks: boolean }) | undefined): GuestProcess | undefined =>
  it === undefined ? undefined : { pid: it.pid, name: it.name }

/** Paths of mappings as Linux writes them (proc_pid_maps(5)). */
function claimOf(path: string, ofFile: boolean): Pick<Claim, 'part' | 'name'> {
  if (path === '[heap]') return { part: 'heap', name: '' }
  if (path === '[stack]') return { part: 'stack', name: '' }
  if (/^\[(vdso|vvar|vvar_vclock|vsyscall|uprobes)\]$/.test(path))
    return { part: 'kernel', name: path.slice(1, -1) }
  if (path === '' || path.startsWith('['))
    return { part: ofFile ? 'shared memory' : 'anonymous', name: path.replace(/^\[(anon:)?|\]$/g, '') }
  if (/^\/(memfd:|dev\/zero|SYSV)|^\/dev\/shm\//.test(path))
    return { part: ofFile ? 'shared memory' : 'anonymous', name: path }
  return { part: ofFile ? 'file' : 'private copy', name: path }
}
