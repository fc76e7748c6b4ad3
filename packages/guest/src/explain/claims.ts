import { brokenReport } from './broken-report.js'
import { maxClaimedFrames, maxClaims, maxNameBytes } from './explain-limits.js'
import type { OwnerPart } from './explanation.js'
import type { GuestFrames } from './guest-frames.js'
import type { GuestProcess, OwnerReportReader, ReportedRun } from './owner-report.js'

/** That a process has a page, or a file. */
export interface Claim {
  readonly part: OwnerPart
  readonly name: string
  readonly process: GuestProcess | undefined
  /** Of the process that asks: it was not there before. */
  readonly asks: boolean
}

/** Pages are below 2^32, so that a page and a claim are one whole number below 2^53. */
const claimNumbers = 2 ** 21

/** Takes a report, and keeps who has the wanted pages. */
export class Claims implements OwnerReportReader {
  readonly #frames: GuestFrames
  readonly #wanted: Uint8Array
  readonly #claims: Claim[] = []
  readonly #numbers = new Map<string, number>()
  #pairs = new Float64Array(4096)
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
        this.#add(it * claimNumbers + claim)
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
    if (number === claimNumbers) throw brokenReport(`more than ${claimNumbers} owners`)
    this.#claims.push({ part, name, process: processOf(this.#process), asks })
    this.#numbers.set(key, number)
    return number
  }

  #add(pair: number): void {
    if (this.#length === maxClaims) throw brokenReport(`more than ${maxClaims} owners of pages`)
    if (this.#length === this.#pairs.length) {
      const larger = new Float64Array(this.#length * 2)
      larger.set(this.#pairs)
      this.#pairs = larger
    }
    this.#pairs[this.#length++] = pair
  }

  /** Each page that has owners, ascending, with those in the order in which the report named them. */
  forEachPage(each: (page: number, claims: readonly Claim[], key: string) => void): void {
    const pairs = this.#pairs.subarray(0, this.#length).sort()
    for (let i = 0; i < pairs.length; ) {
      const page = Math.floor((pairs[i] as number) / claimNumbers)
      const numbers: number[] = []
      for (; i < pairs.length && Math.floor((pairs[i] as number) / claimNumbers) === page; i++) {
        const number = (pairs[i] as number) - page * claimNumbers
        if (numbers.at(-1) !== number) numbers.push(number)
      }
      each(
        page,
        numbers.map((number) => this.#claims[number] as Claim),
        numbers.join(),
      )
    }
  }
}

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
