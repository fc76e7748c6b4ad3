import { byteOffset, guestAddress } from 'varve/state-files'
import { emptyPageSet, pageRange, pageSetFromPages } from 'varve/working-sets'
import { expect, test } from 'vitest'
import { explainSet, type GuestReport } from './explain-set.js'
import { flameSvg } from './flame-svg.js'
import { guestFrames } from './guest-frames.js'

const pages = 64
/** Frames 0 to 31 and 100 to 131. */
const frames = guestFrames([
  { guestAddress: guestAddress(0), sizeBytes: 32 * 4096, fileOffset: byteOffset(0) },
  { guestAddress: guestAddress(100 * 4096), sizeBytes: 32 * 4096, fileOffset: byteOffset(32 * 4096) },
])

async function* bytes(text: string | Uint8Array) {
  yield Buffer.from(text as string)
}

function report(lines: string, flags: Readonly<Record<number, number>> = {}): GuestReport {
  const all = new BigUint64Array(132)
  for (const [frame, bit] of Object.entries(flags)) all[Number(frame)] = 1n << BigInt(bit)
  return {
    owners: bytes(`page-owners 1\nasker 9\n${lines === '' ? '' : `${lines.trim()}\n`}end 1 1 0\n`),
    frameFlags: bytes(new Uint8Array(all.buffer)),
    resources: Buffer.from('  00010000-00011fff : Kernel code\n'),
  }
}

const all = { readOnly: pageRange(0, 60), written: pageRange(60, 4) }
const named = ({ owners }: Awaited<ReturnType<typeof explainSet>>) =>
  owners.map(({ part, name, processes, pages: count }) => [
    [part, name, processes.map(({ pid }) => pid).join()].join(' ').trim(),
    count,
  ])

test('a page that several processes share is named once, with all of them', async () => {
  const explained = await explainSet(
    all,
    pages,
    frames,
    report(`
process 7 python3
map 1000 2000 r-xp 0 fe:0 5 /lib/libc.so
run 1 64 4 f
map 2000 3000 rw-p 0 fe:0 5 /lib/libc.so
run 2 2 1 a
map 5000 6000 rw-p 0 0:0 0 [heap]
run 5 3 2 a
process 8 sshd
map 1000 2000 r-xp 0 fe:0 5 /lib/libc.so
run 1 65 1 f
map 7000 9000 rw-p 0 0:0 0 [stack]
run 7 1e 1 a
map a000 b000 rw-p 0 0:0 0 
run a 5 1 a
process 9 varve-agent
map a000 b000 rw-p 0 0:0 0 
run a 5 2 a
file /lib/libc.so
run 1 64 5 f`),
  )
  expect(named(explained)).toEqual([
    ['unexplained', 52],
    ['file /lib/libc.so 7', 3],
    ['heap  7', 2],
    ['kernel code', 2],
    ['anonymous  8', 1],
    ['file /lib/libc.so', 1],
    ['file /lib/libc.so 7,8', 1],
    ['private copy /lib/libc.so 7', 1],
    ['stack  8', 1],
  ])
  expect(explained).toMatchObject({ pages: 64, writtenPages: 4, unexplainedPages: 52, hasFrameFlags: true })
})

test('only pages of the set count, and frames that no region has do not', async () => {
  const set = { readOnly: pageSetFromPages([3, 40]), written: pageSetFromPages([33]) }
  const lines = `
process 7 a
map 1000 2000 rw-p 0 0:0 0 [heap]
run 1 0 84 a`
  const { owners } = await explainSet(set, pages, frames, report(lines))
  expect(owners).toEqual([
    { part: 'heap', name: '', processes: [{ pid: 7, name: 'a' }], pages: 3, writtenPages: 1 },
  ])
})

test('what no process has is told by the flags of its frame', async () => {
  const flags = { 1: 7, 2: 10, 3: 26, 4: 5, 5: 12, 6: 15, 17: 10, 18: 32, 101: 24 }
  const lines = `
process 7 a
map 1000 2000 rw-p 0 0:0 0 
run 1 65 1 a`
  const explained = await explainSet({ ...all, written: emptyPageSet }, pages, frames, report(lines, flags))
  expect(named(explained)).toEqual([
    ['unexplained', 50],
    // Frame 17 is a part of the kernel's code that was given back.
    ['free', 2],
    ['anonymous (no process)', 1],
    ['file (not named)', 1],
    ['kernel code', 1],
    ['kernel large allocations', 1],
    ['kernel page tables', 1],
    ['kernel reserved at boot', 1],
    ['kernel slab', 1],
    ['kernel zero page', 1],
  ])
})

test('without flags and resources the rest is unexplained', async () => {
  const { owners, hasFrameFlags } = await explainSet(all, pages, frames, {
    ...report(''),
    frameFlags: undefined,
    resources: undefined,
  })
  expect(hasFrameFlags).toBe(false)
  expect(owners).toMatchObject([{ part: 'unexplained', pages: 64 }])
})

test('a guest that claims too many frames is refused', async () => {
  const lines = `file /a\n${'run 0 0 40000000 f\n'.repeat(2)}`
  await expect(explainSet(all, pages, frames, report(lines))).rejects.toMatchObject({
    code: 'GUEST_PROTOCOL',
  })
})

test('the picture names what the table names, and nothing of it is markup', async () => {
  const lines = `
process 7 <b>&
map 1000 2000 rw-p 0 0:0 0 [heap]
run 1 0 10 a
file /a"<script>
run 0 64 10 f`
  const svg = flameSvg(await explainSet(all, pages, frames, report(lines)), 'monday:hello')
  expect(svg).toContain('monday:hello: 64 pages, 100.0 %')
  expect(svg).toContain('&#60;b&#62;&#38; (7): 16 pages, 25.0 %')
  expect(svg).toContain('page cache: 16 pages, 25.0 %')
  expect(svg).not.toMatch(/<b>|<script/)
  // A group that is named by its part has that name once.
  expect(svg.match(/>unexplained: /g)).toHaveLength(2)
})

/** `processes` of a guest, of which each has the first pages, as many as `pagesOf` says. */
async function* claiming(processes: number, pagesOf: (process: number) => number) {
  yield Buffer.from('page-owners 1\nasker 40000\n')
  for (let pid = 1; pid <= processes; pid++)
    yield Buffer.from(`process ${pid} a\nmap 0 1 rw-p 0 0:0 0 \nrun 0 0 ${pagesOf(pid).toString(16)} a\n`)
  yield Buffer.from(`end ${processes} 0 0\n`)
}
const large = { readOnly: pageRange(0, 2048), written: emptyPageSet }
const explainLarge = (owners: AsyncIterable<Uint8Array>, signal?: AbortSignal) => {
  const image = [
    { guestAddress: guestAddress(0), sizeBytes: 2048 * 4096, fileOffset: byteOffset(0) },
  ] as const
  return explainSet(large, 2048, guestFrames(image), { ...report(''), owners }, { signal })
}

test('pages that differ in their owners, and share many, are told apart', async () => {
  const { owners } = await explainLarge(claiming(300, (pid) => 2048 - pid))
  // Pages of all processes, and one page each of 299, 298, ….
  const sizes = owners.map((it) => [it.processes.length, it.pages] as const).sort(([a], [b]) => b - a)
  const others = Array.from({ length: 300 }, (_, n) => [299 - n, 1])
  expect(sizes).toEqual([[300, 1748], ...others])
})

test.each([
  ['30,000 processes that have 1,024 pages each', 30_000, () => 1024, '16777216 owners of pages'],
  ['2,048 pages that all differ in their owners', 8_192, (pid: number) => pid % 2048, 'pages that differ'],
])(
  '%s are refused',
  async (_, processes, pagesOf, words) => {
    await expect(explainLarge(claiming(processes, pagesOf))).rejects.toMatchObject({
      code: 'GUEST_PROTOCOL',
      message: expect.stringContaining(words),
    })
  },
  30_000,
)

test.each(['while the report is read', 'while its pages are grouped'])(
  'a signal ends a long explanation %s',
  async (when) => {
    const controller = new AbortController()
    let abortedAt = 0
    const abortSoon = () =>
      setTimeout(() => {
        abortedAt = performance.now()
        controller.abort()
      }, 1)
    // 15 million owners of pages: seconds.
    async function* owners() {
      if (when.includes('read')) abortSoon()
      yield* claiming(15_000, (pid) => 1024 - (pid % 2))
      if (when.includes('grouped')) abortSoon()
    }
    await expect(explainLarge(owners(), controller.signal)).rejects.toMatchObject({ code: 'INTERRUPTED' })
    expect(performance.now() - abortedAt).toBeLessThan(1_000)
  },
  30_000,
)

test('long names of many owners do not fill the memory', async () => {
  async function* owners() {
    yield Buffer.from('page-owners 1\nasker 9\n')
    for (let n = 0; n < 4_000; n++) yield Buffer.from(`file /${n}${'x'.repeat(19_000)}\nrun 0 0 1 f\n`)
    yield Buffer.from('end 0 4000 0\n')
  }
  await expect(explainSet(all, pages, frames, { ...report(''), owners: owners() })).rejects.toMatchObject({
    code: 'GUEST_PROTOCOL',
    message: expect.stringContaining('bytes of names'),
  })
}, 30_000)
