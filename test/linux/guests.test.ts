import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { writeEmptyDisk } from '@varve/guest/testing'
import { type NestedLab, openNestedLab } from '@varve/lab'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type LiveLinuxOptions, liveLinuxTimeoutMs, testLiveLinux } from '../support/live-linux.js'
import { severalVcpusTimeoutMs, testSeveralVcpus } from '../support/several-vcpus.js'

/** What Linux guests do over minutes of emulation, in one nested lab. */

/** Fetching packages and building images, when nothing is cached. */
const openTimeoutMs = 600_000
const runTimeoutMs = 600_000

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url))

let lab: NestedLab
beforeAll(async () => {
  lab = await openNestedLab()
}, openTimeoutMs)
afterAll(async () => {
  await lab?.close()
})

interface LinuxChain {
  readonly missing: unknown
  readonly diffAfterFullPages: number
  readonly captured: readonly { tag: string; type: string; layers: number }[]
  readonly expected: Readonly<Record<string, string>>
  readonly restores: readonly { tag: string; engine: string; state: string; own: boolean }[]
  readonly balloon: {
    readonly removedPages: readonly [before: number, after: number]
    readonly fresh: readonly number[]
    readonly held: readonly number[]
    readonly left: number
    readonly found: { readonly zero: number; readonly left: number; readonly other: number }
  }
  readonly clones: readonly { readonly mine: string; readonly held: number; readonly fresh: number }[]
  readonly diskStayedAway: boolean
  readonly fsck: readonly unknown[]
  readonly machinesLeft: number
}

test(
  'a Linux guest with a disk and a balloon: three snapshots in a chain, each comes back with the files and the memory it had',
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'varve-chain-'))
    try {
      const disk = join(folder, 'data.ext4')
      await writeEmptyDisk(disk, { sizeBytes: 16 * 2 ** 20 })
      const { exitCode, stderr, result } = await lab.run({
        script: here('../nested-lab/linux-chain.mjs'),
        files: { 'data.ext4': disk, 'page-keeper.py': here('../nested-lab/page-keeper.py') },
        timeoutMs: runTimeoutMs,
      })
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
      const { missing, diffAfterFullPages } = result as LinuxChain
      expect(missing).toEqual({
        code: 'GUEST_REFUSED',
        message: expect.stringContaining('no function of this name'),
      })
      // Rings of its devices, a few pages each; the micro guest, which uses no device,
      // has none (scenario dirty-log).
      expect(diffAfterFullPages).toBeGreaterThan(0)
      expect(diffAfterFullPages).toBeLessThan(100)
      const { captured, expected, restores, balloon, clones, diskStayedAway, fsck, machinesLeft } =
        result as LinuxChain
      expect(captured.map(({ tag, type, layers }) => ({ tag, type, layers }))).toEqual([
        // The base of a VM that was tracked since its boot is a Diff too.
        { tag: 'base', type: 'Diff', layers: 1 },
        { tag: 'one', type: 'Diff', layers: 2 },
        { tag: 'two', type: 'Diff', layers: 3 },
      ])
      const state = (files: Record<string, string>) =>
        [
          ...Object.entries(files).map(([name, content]) => `${name} ${content}`),
          ...Object.entries(files).map(([name, content]) => `${name}.memory ${content}`),
          '',
        ].join('\n')
      const told: Readonly<Record<string, string>> = {
        base: state({ 'first.txt': 'one' }),
        one: state({ 'first.txt': 'one', 'second.txt': 'two' }),
        two: state({ 'first.txt': 'changed', 'third.txt': 'three' }),
      }
      expect(expected).toEqual(told)
      expect(restores).toHaveLength(3)
      for (const { tag, state: found, own } of restores) {
        expect(found).toBe(told[tag])
        expect(own).toBe(true)
      }
      // One of them gave 64 MiB back. Of pages that its programs had left before, the image has
      // the old bytes; the machine has zeros where the balloon took them, and the old bytes
      // nowhere else than where it did not.
      expect(balloon).toMatchObject({ fresh: [256, 512], held: [256, 256] })
      const [before, after] = balloon.removedPages
      expect(before).toBe(0)
      expect(after).toBeGreaterThanOrEqual(64 * 256)
      expect(balloon.left).toBeGreaterThan(1500)
      expect(balloon.found.zero).toBeGreaterThan(balloon.left / 2)
      expect(clones).toEqual([0, 1].map((index) => ({ mine: `clone-${index}`, held: 256, fresh: 256 })))
      expect({ diskStayedAway, fsck, machinesLeft }).toEqual({
        diskStayedAway: true,
        fsck: [],
        machinesLeft: 0,
      })
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  },
  runTimeoutMs,
)

test.each([1, 2, 4])(
  'a Linux guest of %i vCPUs, captured while all of them work on memory: they go on after every restore, and no page is wrong',
  (vcpus) => testSeveralVcpus(lab, vcpus),
  severalVcpusTimeoutMs,
)

const short: LiveLinuxOptions = {
  vcpus: 1,
  rounds: ['fork', 'copy'],
  engines: ['mapped', 'file'],
  reflinks: true,
}
/**
 * `VARVE_LIVE_LINUX=1` only: with more processes than vCPUs, one that was charged for a jump of the clock
 * stands still behind the others for minutes (docs/notes/clock-jumps.md). More captures, more vCPUs, and
 * disks whose blocks cannot be shared come with it.
 */
const long = [1, 2, 4].map(
  (vcpus): LiveLinuxOptions => ({
    vcpus,
    rounds: ['fork', 'copy', 'fork', 'copy', 'fork', 'copy'],
    engines: ['mapped', 'file', 'paged'],
    reflinks: false,
  }),
)

test.each(process.env.VARVE_LIVE_LINUX === undefined ? [] : [short, ...long])(
  'a Linux guest of $vcpus vCPUs that reads and writes a disk and receives by vsock is captured live, with reflinks: $reflinks: memory, disk and stream are of one instant, and go on after every restore',
  async (options) => {
    const folder = mkdtempSync(join(tmpdir(), 'varve-live-'))
    try {
      await testLiveLinux(lab, options, folder)
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  },
  liveLinuxTimeoutMs,
)

interface Who {
  readonly function: 'hello' | 'report'
  readonly engine: 'file' | 'paged'
  readonly cache: 'warm' | 'dropped' | null
  readonly recorder: 'pagemap' | 'mincore' | 'faults' | 'diff'
  readonly run: 1 | 2
}

interface Row extends Who {
  readonly right: boolean
  readonly present: number | null
  readonly written: number | null
  readonly faults: { readonly major: number; readonly async: number }
}

interface Comparison {
  readonly kind: 'present' | 'written'
  readonly a: Who
  readonly b: Who
  readonly aPages: number
  readonly bPages: number
  readonly commonPages: number
  readonly jaccard: number
}

interface Recorded {
  readonly base: { readonly right: readonly boolean[] }
  readonly rows: readonly Row[]
  readonly comparisons: readonly Comparison[]
  readonly sets: readonly { readonly name: string; readonly readOnly: number; readonly written: number }[]
}

interface Used {
  readonly sets: Recorded['sets']
  readonly restores: readonly {
    readonly engine: string
    readonly workingSet: string
    readonly right: boolean
    readonly majorFaults: number
    readonly used: { readonly pages: number; readonly droppedPages: number }
    readonly prefetched: { readonly pages: number; readonly failure: string | null }
  }[]
  readonly machinesLeft: number
}

/**
 * Shares of a set that another may lack. In one run, pages touched between one recorder's last look and the
 * next one's: up to 1 % was seen. In another run the guest has also waited longer or shorter, with timers and
 * what else it does meanwhile: up to 18 %, on a machine with much else to do.
 */
const slack = { sameRun: 0.03, otherRun: 0.35 } as const

describe('a Linux guest with a shell and a Python function, recorded', () => {
  let recorded: Recorded
  let used: Used

  beforeAll(async () => {
    const run = async (...args: readonly string[]) => {
      const script = here('../nested-lab/linux-recording.mjs')
      const { exitCode, stderr, result } = await lab.run({
        script,
        files: { 'report.py': here('../nested-lab/report.py') },
        args,
        timeoutMs: runTimeoutMs,
      })
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
      return result
    }
    recorded = (await run('record', 'recording', 'quick')) as Recorded
    // Another process, which knows the store only.
    used = (await run('use', 'recording')) as Used
  }, 2 * runTimeoutMs)

  /** The share of `b`'s pages that `a` has, in the same function. */
  const covered = (kind: Comparison['kind'], a: Partial<Who>, b: Partial<Who>): number[] => {
    const matches = (who: Who, wanted: Partial<Who>) =>
      Object.entries(wanted).every(([key, value]) => who[key as keyof Who] === value)
    return recorded.comparisons
      .filter((it) => it.kind === kind)
      .flatMap((it) => {
        if (matches(it.a, a) && matches(it.b, b)) return [it.commonPages / it.bPages]
        return matches(it.b, a) && matches(it.a, b) ? [it.commonPages / it.aPages] : []
      })
  }

  test('the functions answer right, recorded or not', () => {
    expect(recorded.base.right).toEqual([true, true])
    // Python's twice: pagemap and diff; mincore, pagemap and diff. The shell's once.
    // Python's once more: faults and diff.
    expect(recorded.rows).toHaveLength((2 + 1) * (2 + 3) + 2)
    expect(recorded.rows.filter(({ right }) => !right)).toEqual([])
  })

  test('each recorder finds pages, more of them for Python than for the shell', () => {
    const of = ({ engine, cache, recorder, run }: Row) => [engine, cache, recorder, run].join()
    const [hello, report] = (['hello', 'report'] as const).map((name) =>
      recorded.rows.filter((row) => row.function === name),
    ) as [Row[], Row[]]
    for (const row of hello) {
      const other = report.find((it) => of(it) === of(row)) as Row
      for (const kind of ['present', 'written'] as const) {
        if (row[kind] === null) continue
        expect(row[kind]).toBeGreaterThan(0)
        expect(other[kind]).toBeGreaterThan(row[kind])
      }
    }
  })

  test('recorders of one run agree', () => {
    const file = { engine: 'file', run: 1 } as const
    const shares = [
      ...covered(
        'written',
        { ...file, cache: 'warm', recorder: 'diff' },
        { ...file, cache: 'warm', recorder: 'pagemap' },
      ),
      ...covered(
        'present',
        { ...file, cache: 'dropped', recorder: 'mincore' },
        { ...file, cache: 'dropped', recorder: 'pagemap' },
      ),
      ...covered('written', { engine: 'paged', run: 1, recorder: 'diff' }, { run: 1, recorder: 'faults' }),
    ]
    expect(shares).toHaveLength(3 + 2)
    for (const share of shares) expect(share).toBeGreaterThan(1 - slack.sameRun)
  })

  test('a Diff holds pages that were only read where the guest did something else while they were fetched', () => {
    const diffOf = (wanted: Partial<Who>) =>
      recorded.rows.filter((row) =>
        Object.entries({ ...wanted, recorder: 'diff' }).every(
          ([key, value]) => row[key as keyof Who] === value,
        ),
      )
    const [warm, dropped, paged] = [
      diffOf({ function: 'hello', cache: 'warm' }),
      diffOf({ function: 'hello', cache: 'dropped' }),
      diffOf({ function: 'report', engine: 'paged' }),
    ].map((rows) => {
      expect(rows).toHaveLength(1)
      return rows[0] as Row
    }) as [Row, Row, Row]
    // File memory in the page cache: there is no page to wait for. Dropped: there is, and the same work
    // leaves a larger Diff.
    expect(warm.faults.async).toBe(0)
    expect(dropped.faults.async).toBeGreaterThan(0)
    expect(dropped.written).toBeGreaterThan(warm.written as number)
    // From a page server every page is waited for: the Diff holds most of what was touched.
    const touched = recorded.rows.find(({ recorder }) => recorder === 'faults')?.present as number
    expect(paged.faults.async).toBeGreaterThan(touched / 2)
    expect(paged.written).toBeGreaterThan(0.8 * touched)
  })

  test('recorders of other runs find what faults found', () => {
    const [warm, dropped] = (['warm', 'dropped'] as const).map((cache) => ({
      engine: 'file' as const,
      cache,
    }))
    const shares = [
      ...covered('present', { ...dropped, recorder: 'mincore' }, { recorder: 'faults' }),
      ...covered('present', { ...dropped, recorder: 'pagemap' }, { recorder: 'faults' }),
      // With warm memory the guest waits least, so it does least apart from its work: less than
      // in the slowest run, with faults.
      ...covered('present', { ...warm, recorder: 'pagemap' }, { ...dropped, recorder: 'pagemap' }),
    ]
    // Python's two runs against faults' one, and against two; the shell's only one, without faults.
    expect(shares).toHaveLength(2 * 2 + 2 * 2 + 1)
    for (const share of shares) expect(share).toBeGreaterThan(1 - slack.otherRun)
  })

  test('two runs of a function are alike', () => {
    const pairs = recorded.comparisons.filter(
      ({ a, b, kind }) =>
        kind === 'present' && a.recorder === b.recorder && a.engine === b.engine && a.cache === b.cache,
    )
    expect(pairs).toHaveLength(3)
    for (const { jaccard } of pairs) {
      expect(jaccard).toBeGreaterThan(0.5)
      expect(jaccard).toBeLessThanOrEqual(1)
    }
  })

  test('the sets are in the store, as they were, for another process', () => {
    const byName = (sets: Recorded['sets']) => [...sets].sort((a, b) => (a.name < b.name ? -1 : 1))
    expect(recorded.sets).toHaveLength(7)
    expect(byName(used.sets)).toEqual(byName(recorded.sets))
  })

  test('restores with them answer right, and wait for the disk less often', () => {
    expect(used.restores.map(({ engine, right }) => ({ engine, right }))).toEqual([
      { engine: 'file', right: true },
      { engine: 'paged', right: true },
    ])
    for (const { workingSet, used: fitted, prefetched } of used.restores) {
      const set = recorded.sets.find(({ name }) => name === workingSet)
      expect(fitted).toEqual({ pages: (set?.readOnly ?? 0) + (set?.written ?? 0), droppedPages: 0 })
      expect(prefetched.failure).toBeNull()
      expect(prefetched.pages).toBeGreaterThan(0)
    }
    const cold = recorded.rows.filter((row) => row.function === 'report' && row.recorder === 'mincore')
    expect(used.restores[0]?.majorFaults).toBeLessThan(Math.min(...cold.map(({ faults }) => faults.major)))
    expect(used.machinesLeft).toBe(0)
  })
})
