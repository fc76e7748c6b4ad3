import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { pagesOf, presentPages, readWorkingSet } from 'varve/working-sets'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { commandsIn, startVarve, varve } from '../support/cli.js'
import { microWorldOfFile } from '../support/micro-world.js'

/** The guest's own pages, and Firecracker's: below these and behind them nothing is told to be touched. */
const written = { start: 2000, count: 60, stride: 2 }
const filled = { start: 1024, count: 2000 }

const world = microWorldOfFile({ onDisk: true })
const { right, json, text, refused, consoleOf } = commandsIn(() => world)

beforeAll(async () => {
  // Reads page 1100 and 30 more, writes 60: as an agent in the guest would be told to.
  writeFileSync(
    world.path('work.sh'),
    `printf '\\030''1 read 1100 31 4 1\\n' >"$VARVE_CONSOLE"; sleep 0.3
printf '\\030''2 write 2000 60 2 1 9 1\\n' >"$VARVE_CONSOLE"; sleep 0.3
echo "$VARVE_MACHINE $1" >machine
`,
  )
  await right('boot', '--kernel', 'micro.elf', '--memory', '32', '--name', 'web')
  await using guest = consoleOf('web')
  await guest.fill(filled, 1)
  await right('snapshot', 'create', 'web', '--tag', 'base')
})
afterAll(async () => {
  await varve(world, 'stop', '--all')
})

const told = {
  read: Array.from({ length: 31 }, (_, i) => 1100 + 4 * i),
  written: Array.from({ length: 60 }, (_, i) => 2000 + 2 * i),
}

const setNamed = (ref: string, name: string) => world.store.readWorkingSet(ref, name)

describe('recording', () => {
  test('a command that makes the guest work; the set is kept, the machine is not', async () => {
    const done = await json('ws', 'record', 'base', '--save', 'one', '--', 'sh', 'work.sh', '--json')
    expect(done).toMatchObject({ name: 'one', memoryPages: 8192, recorders: [{ recorder: 'pagemap' }] })
    const set = await setNamed('base', 'one')
    const wrote = [...pagesOf(set.written)]
    expect(wrote.filter((page) => page >= 2000)).toEqual(told.written)
    expect([...pagesOf(presentPages(set))]).toEqual(expect.arrayContaining(told.read))
    expect(wrote.filter((page) => told.read.includes(page))).toEqual([])
    expect(set.notes.command).toEqual(['sh', 'work.sh', '--json'])
    expect(readFileSync(world.path('machine'), 'utf8')).toMatch(/^\S+ --json\n$/)
    expect((await json('ps')).machines.map(({ id }: { id: string }) => id)).toEqual(['web'])
  })

  test('by page cache and Diff together', async () => {
    const list = ['--recorders', 'mincore,diff']
    const done = await json('ws', 'record', 'base', '--save', 'two', ...list, '--', 'sh', 'work.sh')
    expect(done.recorders).toMatchObject([
      { recorder: 'mincore', exact: { present: false } },
      { recorder: 'diff', exact: { written: true } },
    ])
    const set = await setNamed('base', 'two')
    expect([...pagesOf(set.written)].filter((page) => page >= 2000)).toEqual(told.written)
    expect([...pagesOf(presentPages(set))]).toEqual(expect.arrayContaining(told.read))
  })

  test('by the faults that a page server answers: in order, and phases apart', async () => {
    const work = ['--', 'sh', 'work.sh']
    const done = await json('ws', 'record', 'base', '--save', 'faults', '--recorders', 'faults', ...work)
    expect(done.recorders).toMatchObject([{ recorder: 'faults', exact: { present: true } }])
    const set = await setNamed('base', 'faults')
    const touched = [...pagesOf(presentPages(set))].filter((page) => page >= 1024)
    expect([...pagesOf(set.written)].filter((page) => page >= 1024)).toEqual(told.written)
    expect(touched).toEqual([...told.read, ...told.written])
    // The guest read, did nothing for 0.3 s, and wrote.
    const groupOf = (page: number) => set.groups.find((it) => [...pagesOf(it.set)].includes(page))
    expect(told.read.map(groupOf)).toEqual(told.read.map(() => groupOf(1100)))
    expect(told.written.map(groupOf)).toEqual(told.written.map(() => groupOf(2000)))
    expect((groupOf(2000)?.atMs ?? 0) - (groupOf(1100)?.atMs ?? 0)).toBeGreaterThan(250)
    await refused(
      2,
      'INVALID_ARGUMENT',
      'ws',
      'record',
      'base',
      '--recorders',
      'faults',
      '--engine',
      'file',
      ...work,
    )
  })

  test('a page that is written with the content that it had counts as read by faults, which says so', async () => {
    // Word 0 of 20 pages gets the value that it has.
    const same = `printf '\\030''1 write 1500 20 2 1 1 1\\n' >"$VARVE_CONSOLE"; sleep 0.3`
    const list = ['--save', 'same', '--recorders', 'faults']
    const { stdout } = await right('ws', 'record', 'base', ...list, '--', 'sh', '-c', same)
    const set = await setNamed('base', 'same')
    const rewritten = Array.from({ length: 20 }, (_, i) => 1500 + 2 * i)
    expect([...pagesOf(set.readOnly)]).toEqual(expect.arrayContaining(rewritten))
    expect([...pagesOf(set.written)].filter((page) => page >= 1024)).toEqual([])
    expect(set.notes.exact).toEqual({ present: true, written: false })
    const { unchanged } = (set.notes.how as { faults: { faults: { unchanged: number } } }).faults.faults
    expect(unchanged).toBeGreaterThanOrEqual(20)
    expect(stdout).toContain(
      `${unchanged * 4}.0 KiB of the pages counted as only read may have been written with the content that they had`,
    )
  })

  test('a machine that runs, from now on; it goes on', async () => {
    await right('restore', 'base', '--name', 'runs')
    const done = await json('ws', 'record', '--machine', 'runs', '--save', 'three', '--', 'sh', 'work.sh')
    expect(done.writtenPages).toBeGreaterThanOrEqual(60)
    await using guest = consoleOf('runs')
    await guest.verify(written, 9, { words: 1 })
    // What it has touched goes into a snapshot of it as well.
    await right('snapshot', 'create', 'runs', '--tag', 'child', '--working-set', 'warm')
    const warm = [...pagesOf((await setNamed('child', 'warm')).written)]
    expect(warm).toEqual(expect.arrayContaining(told.written))
    await refused(5, 'RECORDER_UNRELIABLE', 'ws', 'record', '--machine', 'runs', '--for', '1')
    await right('stop', 'runs')
    await refused(5, 'RECORDER_UNRELIABLE', 'snapshot', 'create', 'web', '--working-set', 'warm')
  })

  test('a command that fails keeps nothing; nothing is left after Ctrl-C', async () => {
    const before = await json('ws', 'ls')
    await refused(5, 'COMMAND_FAILED', 'ws', 'record', 'base', '--', 'false')
    await refused(5, 'COMMAND_FAILED', 'ws', 'record', 'base', '--', './not-there')
    await refused(2, 'USAGE', 'ws', 'record', 'base')
    await refused(2, 'USAGE', 'ws', 'record', 'base', '--recorders', 'eyes', '--for', '1')
    await refused(6, 'NOT_FOUND', 'ws', 'record', 'nothing', '--for', '1')
    const { child, result } = startVarve(world, 'ws', 'record', 'base', '--for', '30')
    while ((await json('ps')).machines.length < 2) await sleep(50)
    child.kill('SIGINT')
    expect((await result).status).toBe(130)
    expect((await json('ps')).machines).toHaveLength(1)
    expect(await json('ws', 'ls')).toEqual(before)
  })
})

describe('looking at sets', () => {
  test('ls and show, with pictures that are not written over', async () => {
    expect(await text('ws', 'ls')).toMatch(/^base:one +\d+ s /m)
    const shown = await text('ws', 'show', 'base:one', '--png', 'classes.png', '--groups-png', 'order.png')
    expect(shown).toMatch(/^written +\d+ pages, /m)
    expect(shown).toMatch(/^\|.*█/m)
    for (const name of ['classes.png', 'order.png'])
      expect(readFileSync(world.path(name)).subarray(1, 4).toString()).toBe('PNG')
    await refused(2, 'ALREADY_EXISTS', 'ws', 'show', 'base:one', '--png', 'classes.png')
    const { layers, writtenPages, writtenRuns } = await json('ws', 'show', 'base:one', '--runs')
    const sum = (field: string) =>
      layers.reduce((all: number, it: Record<string, number>) => all + (it[field] as number), 0)
    expect(sum('written')).toBe(writtenPages)
    expect(sum('imagePages')).toBe(8192)
    expect(writtenRuns).toEqual(expect.arrayContaining([{ start: 2000, count: 1 }]))
  })

  test('explain needs a guest with an agent, and ends the clone that it asked', async () => {
    await refused(2, 'USAGE', 'ws', 'explain')
    await refused(6, 'NOT_FOUND', 'ws', 'explain', 'base:none')
    expect(await refused(2, 'INVALID_ARGUMENT', 'ws', 'explain', 'base:one')).toContain('vsock')
    expect((await json('ps')).machines).toHaveLength(1)
  })

  test('compare', async () => {
    expect(await text('ws', 'compare', 'base:one', 'base:two')).toMatch(/^touched +\d+ +\d+ /m)
    expect(await text('ws', 'compare', 'base:one', 'base:two', 'base:one')).toMatch(/^base:one .*1\.000/m)
    const { comparisons } = await json('ws', 'compare', 'base:one', 'base:one')
    expect(comparisons[0].present).toMatchObject({ jaccard: 1, coverage: 1, onlyAPages: 0, onlyBPages: 0 })
    await refused(6, 'NOT_FOUND', 'ws', 'compare', 'base:one', 'base:none')
  })
})

describe('sets of sets', () => {
  test('union, intersect and common, into the snapshot or a file', async () => {
    const [one, two] = [await setNamed('base', 'one'), await setNamed('base', 'two')]
    const union = await json('ws', 'union', 'base:one', 'base:two', '--to', 'base:all')
    const both = await json('ws', 'intersect', 'base:one', 'base:two', '--to', 'base:both')
    expect(union.pages + both.pages).toBe(presentPages(one).pages + presentPages(two).pages)
    const most = await json('ws', 'common', 'base:one', 'base:two', 'base:all', '--to', './most.ws')
    expect(most.pages).toBe(union.pages)
    expect(presentPages(await readWorkingSet(world.path('most.ws'))).pages).toBe(union.pages)
    const few = await json('ws', 'union', 'base:one', '--to', './few.ws', '--max-pages', '5')
    expect(few.pages).toBe(5)
    const wide = await json('ws', 'union', 'base:one', '--to', './wide.ws', '--merge-gaps', '8')
    expect(wide.pages).toBeGreaterThan(presentPages(one).pages)
    await refused(2, 'USAGE', 'ws', 'union', 'base:one')
    await refused(2, 'USAGE', 'ws', 'common', 'base:one', 'base:two', '--at-least', '3', '--to', './x.ws')
  })

  test('export; a child takes what still fits, others refuse it', async () => {
    await right('ws', 'export', 'base:one', 'one.ws')
    expect(await readWorkingSet(world.path('one.ws'))).toEqual(await setNamed('base', 'one'))
    const kept = await right('ws', 'union', 'one.ws', '--to', 'child:one')
    expect(kept.stderr).toMatch(/^\d+ pages of [0-9a-f]{12} are others in child: left out$/m)
    const fitted = await setNamed('child', 'one')
    expect([...pagesOf(fitted.written)].filter((page) => page >= 2000)).toEqual([])
    expect([...pagesOf(fitted.readOnly)]).toEqual(expect.arrayContaining(told.read))
    await right('snapshot', 'create', 'web', '--tag', 'other', '--full')
    await refused(4, 'IMAGE_MISMATCH', 'ws', 'union', 'one.ws', '--to', 'other:one')
    await right('ws', 'rm', 'child:one')
    await refused(6, 'NOT_FOUND', 'ws', 'show', 'child:one')
  })
})

describe('using them', () => {
  test.each(['before', 'concurrent'])('a restore brings the pages, %s the guest', async (mode) => {
    const id = (await world.store.resolve('base')).id
    // Drops the file from the page cache (dd(1), "Discard cache for the whole file").
    const flat = join(world.store.location, 'varve/flat', id)
    expect(spawnSync('dd', [`if=${flat}`, 'iflag=nocache', 'count=0']).status).toBe(0)
    const restored = await json(
      'restore',
      'base',
      '--name',
      'fast',
      // Of a set in the page cache, auto would bring nothing ahead.
      '--engine',
      'file',
      '--working-set',
      'one',
      '--prefetch',
      mode,
    )
    const { pages } = presentPages(await setNamed('base', 'one'))
    expect(restored.workingSet).toEqual({ pages, droppedPages: 0 })
    expect(restored.prefetched.failure).toBe(null)
    expect(restored.prefetched.pages).toBeGreaterThanOrEqual(90)
    const sum = (counts: Record<string, number>) => Object.values(counts).reduce((a, b) => a + b, 0)
    expect(sum(restored.pages.byClass)).toBe(restored.memoryPages)
    const { zero, flatFile, layers } = restored.pages.byOrigin
    expect(zero + flatFile + sum(layers)).toBe(restored.memoryPages)
    expect(restored.usage.readBytes.prefetch).toBe(restored.prefetched.pages * 4096)
    {
      await using guest = consoleOf('fast')
      await guest.verify(filled, 1)
    }
    // The commands that restored it and looked at it have ended; the machine's directory tells.
    const { machines } = await json('stats', 'fast')
    const { faults, prefetched } = machines[0]
    expect(faults.minor + faults.major).toBeGreaterThan(
      restored.usage.faults.minor + restored.usage.faults.major,
    )
    expect(prefetched.unused.atLeast).toBeLessThan(restored.usage.prefetched.unused.atLeast)
    expect(await text('stats', 'fast')).toMatch(
      /^fast {2}running {2}pid \d+ {2}file, from [0-9a-f]{12} [0-9.]+ s ago\nfaults .*\nread .*\nset .*\nmemory /,
    )
    await right('stop', 'fast')
  })

  test('of an ancestor, by a file, and none that does not belong', async () => {
    const restored = await json('restore', 'child', '--name', 'later', '--working-set', 'one.ws')
    expect(restored.workingSet.droppedPages).toBeGreaterThanOrEqual(60)
    await right('stop', 'later')
    await refused(4, 'IMAGE_MISMATCH', 'restore', 'other', '--working-set', 'one.ws')
    await refused(4, 'FORMAT_INVALID', 'restore', 'base', '--working-set', 'work.sh')
    await refused(2, 'USAGE', 'restore', 'base', '--working-set', 'one', '--prefetch', 'sometimes')
    expect(existsSync(world.path('one.ws'))).toBe(true)
  })
})
