import { type PageSet, runsOf } from 'varve/working-sets'
import { type Claim, Claims } from './claims.js'
import type { Explanation, OwnedPages, OwnerPart } from './explanation.js'
import { type FrameKind, frameKinds, readFrameFlags } from './frame-kinds.js'
import type { GuestFrames } from './guest-frames.js'
import { readKernelRanges } from './kernel-ranges.js'
import { type GuestProcess, readOwnerReport } from './owner-report.js'
import { Pace } from './pace.js'

/** What a guest says of its pages. */
export interface GuestReport {
  /** The agent's report: docs/formats/page-owners.md. */
  readonly owners: AsyncIterable<Uint8Array>
  /** /proc/kpageflags, read before the report; undefined if the guest's kernel has none. */
  readonly frameFlags: AsyncIterable<Uint8Array> | undefined
  /** /proc/iomem; undefined if it could not be read. */
  readonly resources: Uint8Array | undefined
}

interface Owner extends Pick<OwnedPages, 'part' | 'name' | 'processes'> {
  pages: number
  writtenPages: number
}

/**
 * Says who has the pages of a set. `imagePages`: pages of the image. Errors: GUEST_PROTOCOL for a report that
 * is broken or beyond the bounds.
 */
export async function explainSet(
  set: { readonly readOnly: PageSet; readonly written: PageSet },
  imagePages: number,
  frames: GuestFrames,
  report: GuestReport,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<Explanation> {
  const pace = new Pace(signal)
  const wanted = new Uint8Array(imagePages)
  for (const part of [set.readOnly, set.written])
    for (const { start, count } of runsOf(part)) wanted.fill(1, start, start + count)
  const written = new Uint8Array(imagePages)
  for (const { start, count } of runsOf(set.written)) written.fill(1, start, start + count)

  const kinds = new Uint8Array(imagePages)
  if (report.frameFlags !== undefined) await readFrameFlags(report.frameFlags, frames, wanted, kinds, pace)
  const claims = new Claims(frames, wanted)
  const { skipped } = await readOwnerReport(report.owners, claims, pace)
  const ranges = readKernelRanges(report.resources ?? new Uint8Array(0))

  const tally = new Tally(written)
  await claims.forEachPage((page, group) => {
    const kind = frameKinds[kinds[page] as number] as FrameKind
    // All processes map the one page of zeros; it is the kernel's.
    if (kind === 'zero page' || group.every(({ asks }) => asks)) return
    wanted[page] = 0
    tally.add(page, group, () => ownerOf(group.filter(({ asks }) => !asks)))
  }, pace)
  for (const { name, frame, count } of ranges)
    frames.forEachPart(frame, count, (page, _, pages) => {
      for (let it = page; it < page + pages; it++) {
        // Parts of the image that the kernel needs at its start only have been given back.
        const kind = frameKinds[kinds[it] as number] as FrameKind
        if (wanted[it] !== 1 || (kind !== 'reserved' && kind !== 'unknown')) continue
        wanted[it] = 0
        tally.add(it, `kernel ${name}`, () => ({ part: 'kernel', name, processes: [] }))
      }
    })
  for (let page = 0; page < imagePages; page++) {
    if (pace.isDue(10)) await pace.rest()
    if (wanted[page] !== 1) continue
    const kind = frameKinds[kinds[page] as number] as FrameKind
    tally.add(page, `kind ${kind}`, () => ownersOfKinds[kind])
  }
  return { ...tally.finish(), skipped, hasFrameFlags: report.frameFlags !== undefined }
}

const kernelPart = (name: string) => ({ part: 'kernel', name, processes: [] }) as const
const without = (part: OwnerPart, name = '') => ({ part, name, processes: [] })

/** Of pages that no process and no file has claimed. */
const ownersOfKinds: Readonly<Record<FrameKind, Pick<OwnedPages, 'part' | 'name' | 'processes'>>> = {
  unknown: without('unexplained'),
  'zero page': kernelPart('zero page'),
  free: without('free'),
  'page table': kernelPart('page tables'),
  slab: kernelPart('slab'),
  'page cache': without('file', '(not named)'),
  'shared memory': without('shared memory', '(not mapped)'),
  anonymous: without('anonymous', '(no process)'),
  'large allocation': kernelPart('large allocations'),
  reserved: kernelPart('reserved at boot'),
  offline: kernelPart('balloon or offline'),
}

/** The file, if one of the claims is of one: a mapping of it, or the page cache. */
function ownerOf(claims: readonly Claim[]): Pick<OwnedPages, 'part' | 'name' | 'processes'> {
  const named = claims.find(({ part }) => part === 'file') ?? (claims[0] as Claim)
  const processes = new Map<number, GuestProcess>()
  for (const { process } of claims) if (process !== undefined) processes.set(process.pid, process)
  return {
    part: named.part,
    name: named.name,
    processes: named.part === 'kernel' ? [] : [...processes.values()].sort((a, b) => a.pid - b.pid),
  }
}

const nameOf = ({ part, name, processes }: Pick<OwnedPages, 'part' | 'name' | 'processes'>): string =>
  `${part} ${name} ${processes.map(({ pid }) => pid).join()}`

/** Counts pages by owner. Pages whose owners are equal have one key, so that their owner is made once. */
class Tally {
  readonly #written: Uint8Array
  readonly #byKey = new Map<unknown, Owner>()
  readonly #owners = new Map<string, Owner>()

  constructor(written: Uint8Array) {
    this.#written = written
  }

  add(page: number, key: unknown, owner: () => Pick<OwnedPages, 'part' | 'name' | 'processes'>): void {
    let it = this.#byKey.get(key)
    if (it === undefined) {
      const made = owner()
      const same = nameOf(made)
      it = this.#owners.get(same)
      if (it === undefined) {
        it = { ...made, pages: 0, writtenPages: 0 }
        this.#owners.set(same, it)
      }
      this.#byKey.set(key, it)
    }
    it.pages++
    if (this.#written[page] === 1) it.writtenPages++
  }

  finish(): Pick<Explanation, 'pages' | 'writtenPages' | 'unexplainedPages' | 'owners'> {
    const owners = [...this.#owners]
      .sort(([a, { pages }], [b, { pages: others }]) => others - pages || (a < b ? -1 : 1))
      .map(([, owner]) => owner)
    const sum = (of: (owner: Owner) => number) => owners.reduce((all, owner) => all + of(owner), 0)
    return {
      pages: sum(({ pages }) => pages),
      writtenPages: sum(({ writtenPages }) => writtenPages),
      unexplainedPages: sum(({ part, pages }) => (part === 'unexplained' ? pages : 0)),
      owners,
    }
  }
}
