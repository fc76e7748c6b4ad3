import { cpSync, existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectMachine } from 'varve'
import { compareImages } from 'varve/layers'
import { pageSetFromPages, runsOf, writeWorkingSet } from 'varve/working-sets'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { commandsIn, startVarve, varve } from '../support/cli.js'
import { microWorldOfFile } from '../support/micro-world.js'

/** What the guest is told to write before each snapshot. */
const first = { start: 1024, count: 40 }
const second = { start: 2000, count: 60, stride: 2 }
const zeroed = { start: 1030, count: 10 }

const world = microWorldOfFile()
/** By tag. */
const ids: Record<string, string> = {}

beforeAll(async () => {
  await right('boot', '--kernel', 'micro.elf', '--memory', '32', '--name', 'web')
})
afterAll(async () => {
  await varve(world, 'stop', '--all')
})

const { right, json, text, refused, consoleOf } = commandsIn(() => world)

/** That a snapshot comes back with the memory it was taken with. */
async function restoresRight(ref: string, engine: string, ...more: string[]): Promise<void> {
  const name = `check-${engine}`
  await right('restore', ref, '--name', name, '--engine', engine, ...more)
  {
    await using guest = consoleOf(name)
    await guest.verify({ start: 1024, count: 6 }, 1)
    await guest.verify({ start: 1040, count: 24 }, 1)
    await guest.verify(second, 2)
    expect((await guest.read(zeroed)).value).toBe(0n)
  }
  await right('stop', name)
}

const blobs = () => readdirSync(world.path('store/blobs/sha256')).sort()
const stagings = () => readdirSync(world.path('store/varve/staging'))

describe('taking snapshots', () => {
  test('the first is a base, the next ones build on the last', async () => {
    const base = await json('snapshot', 'create', 'web', '--tag', 'base')
    expect(base).toMatchObject({ parent: null, tags: ['base'], memoryPages: 8192 })
    expect(base.dataPages + base.zeroPages).toBe(8192)
    await using guest = consoleOf('web')
    await guest.fill(first, 1)
    const one = await json('snapshot', 'create', 'web', '-t', 'one')
    expect(one).toMatchObject({ parent: base.id, kind: 'diff', tags: ['one'] })
    expect(one.dataPages).toBeGreaterThanOrEqual(first.count)
    expect(one.dataPages).toBeLessThan(first.count + 20)
    await guest.fill(second, 2)
    await guest.zero(zeroed)
    const two = await right('snapshot', 'create', 'web', '-t', 'two', '-t', 'latest')
    expect(two.stdout).toMatch(
      /^two {2}[0-9a-f]{12} {2}on [0-9a-f]{12} {2}\d+ KiB of data in 32\.0 MiB {2}guest stood still \d+ ms \((live|stop): .+\)\n$/,
    )
    for (const tag of ['base', 'one', 'two']) ids[tag] = (await world.store.resolve(tag)).id
    expect((await connectMachine('web', { runtimeDirectory: world.runtimeDirectory })).state).toBe('running')
  })

  test('one that nobody named has a name all the same; a name that moves is told', async () => {
    const named = await json('snapshot', 'create', 'web')
    expect(named.tags).toEqual([expect.stringMatching(/^web-\d{8}-\d{6}$/)])
    const moved = await right('snapshot', 'create', 'web', '--tag', named.tags[0])
    expect(moved.stderr).toContain(
      `${named.tags[0]} named ${named.id.slice(0, 12)} before, which has no tag now`,
    )
    const nameless = await json('snapshot', 'create', 'web', '--no-tag')
    expect(nameless.tags).toEqual([])
    await right('snapshot', 'rm', named.tags[0])
    const { removedSnapshots } = await json('gc')
    // The machine still needs the last one, which has no name either.
    expect(removedSnapshots).toContain(named.id)
    expect(removedSnapshots).not.toContain(nameless.id)
  })

  test('--full builds on nothing, --keep-paused leaves the guest as it is', async () => {
    const full = await json('snapshot', 'create', 'web', '--full', '--keep-paused', '--no-tag')
    expect(full).toMatchObject({ parent: null, kind: 'full' })
    expect((await connectMachine('web', { runtimeDirectory: world.runtimeDirectory })).state).toBe('paused')
    // A machine that was paused stays so.
    await right('snapshot', 'create', 'web', '--no-tag')
    expect((await connectMachine('web', { runtimeDirectory: world.runtimeDirectory })).state).toBe('paused')
    await right('resume', 'web')
  })

  test('a parent that it does not build on, and contradictions', async () => {
    const message = await refused(4, 'IMAGE_MISMATCH', 'snapshot', 'create', 'web', '--parent', 'base')
    expect(message).toContain(ids.base)
    await refused(2, 'USAGE', 'snapshot', 'create', 'web', '--parent', 'base', '--full')
    await refused(6, 'NOT_FOUND', 'snapshot', 'create', 'web', '--parent', 'nothing')
    expect((await connectMachine('web', { runtimeDirectory: world.runtimeDirectory })).state).toBe('running')
    expect(stagings()).toEqual([])
  })

  test('another store does not have the parent', async () => {
    const other = await varve(world, 'snapshot', 'create', 'web', '--store', 'other', '--json')
    expect(other.status, other.stderr).toBe(0)
    expect(other.stderr).toMatch(
      /its last snapshot, [0-9a-f]{32}, is not in .*: the new snapshot of \S+ is a base/,
    )
    expect(other.json().parent).toBeNull()
    expect(statSync(world.path('other')).mode & 0o777).toBe(0o700)
  })
})

describe('looking at them', () => {
  test('ls', async () => {
    const { store, snapshots } = await json('snapshot', 'ls')
    expect(store).toBe(world.store.location)
    expect(snapshots.map((it: { tags: string[] }) => it.tags)).toEqual(
      expect.arrayContaining([['base'], ['one'], ['two', 'latest']]),
    )
    const one = snapshots.find((it: { id: string }) => it.id === ids.one)
    expect(one).toMatchObject({ parent: ids.base, kind: 'diff', memoryPages: 8192, layers: 2, error: null })
    expect(one.dataBytes).toBeGreaterThanOrEqual(first.count * 4096)
    const table = await text('snapshot', 'ls')
    expect(table).toMatch(/^TAG +ID +PARENT +AGE +DATA +LAYERS\n/)
    expect(table).toMatch(new RegExp(`^one +${ids.one?.slice(0, 12)} +${ids.base?.slice(0, 12)} `, 'm'))
  })

  test('ls --tree, with a second child of the base', async () => {
    await right('restore', 'base', '--name', 'side')
    await right('snapshot', 'create', 'side', '--tag', 'side')
    await right('stop', 'side')
    const tree = await text('snapshot', 'ls', '--tree')
    expect(tree).toMatch(/^base .*\n├ side .*\n└ one .*\n {2}two, latest .*\n/m)
  })

  test('log', async () => {
    const { snapshots, missing } = await json('snapshot', 'log', 'two')
    expect(snapshots.map((it: { id: string }) => it.id)).toEqual([ids.two, ids.one, ids.base])
    expect(missing).toBeNull()
    expect((await text('snapshot', 'log', 'latest')).split('\n').map((line) => line.split(' ')[0])).toEqual([
      'TAG',
      'two,',
      'one',
      'base',
      '',
    ])
  })

  test('show', async () => {
    const report = await json('snapshot', 'show', 'two', '--extents')
    expect(report).toMatchObject({
      id: ids.two,
      parent: ids.one,
      tags: ['two', 'latest'],
      memoryPages: 8192,
      firecracker: { version: '1.12.1' },
      damage: null,
    })
    expect(report.machine['machine-config'].mem_size_mib).toBe(32)
    expect(report.layers.map((it: { image: string }) => it.image)).toEqual([ids.base, ids.one, ids.two])
    const inUse = report.layers.reduce((sum: number, it: { pagesInUse: number }) => sum + it.pagesInUse, 0)
    expect(inUse).toBe(report.extents.dataPages)
    expect(report.extents.dataPages + report.extents.zeroPages).toBe(8192)
    expect(report.extentList).toHaveLength(report.extents.runs)
    expect(report.extentList.reduce((sum: number, it: { pages: number }) => sum + it.pages, 0)).toBe(8192)
    // The zeroed pages were data in the layer before.
    const at = (page: number) =>
      report.extentList.find(
        (it: { firstPage: number; pages: number }) => it.firstPage <= page && page < it.firstPage + it.pages,
      )
    expect(at(zeroed.start).layer).toBeNull()
    expect(at(first.start).layer).toBe(1)
    expect(at(second.start).layer).toBe(2)

    const shown = await text('snapshot', 'show', `${ids.two?.slice(0, 8)}`)
    expect(shown).toContain(`snapshot   ${ids.two}\n`)
    expect(shown).toMatch(/^memory +32\.0 MiB: .* data, .* zero, in \d+ extents$/m)
    expect(shown).toMatch(/^ +2 +[0-9a-f]{12} +packed /m)
  })

  test('diff', async () => {
    const diff = await json('snapshot', 'diff', 'one', 'two', '--runs')
    expect(diff).toMatchObject({ a: ids.one, b: ids.two, memoryPages: 8192, disks: [] })
    await using a = await world.store.open('one')
    await using b = await world.store.open('two')
    const differing = await compareImages(a, b)
    expect(diff.pageRuns).toEqual([...runsOf(differing)])
    expect([diff.pages, diff.runs, diff.bytes]).toEqual([
      differing.pages,
      differing.starts.length,
      differing.pages * 4096,
    ])
    const { zeroToData, dataToZero, dataToData } = diff.changes
    expect(zeroToData).toBeGreaterThanOrEqual(second.count)
    expect(dataToZero).toBe(zeroed.count)
    expect(zeroToData + dataToZero + dataToData).toBe(diff.pages)
    expect((await json('snapshot', 'diff', 'two', 'one')).changes).toEqual({
      zeroToData: dataToZero,
      dataToZero: zeroToData,
      dataToData,
    })
    expect((await json('snapshot', 'diff', 'two', 'latest')).pages).toBe(0)
    expect(await text('snapshot', 'diff', 'one', 'two')).toMatch(
      new RegExp(`${diff.pages} pages of 8192 differ(.|\n)*data, now zero +10 +40\\.0 KiB\n`),
    )
  })

  test('du', async () => {
    const { layers, totals } = await json('du', 'two')
    expect(layers.map((it: { image: string }) => it.image)).toEqual([ids.base, ids.one, ids.two])
    for (const it of layers)
      expect([it.dataPages + it.zeroPages + it.inheritedPages, it.duplicatePages]).toEqual([8192, null])
    expect(totals.dataPages).toBe(
      layers.reduce((sum: number, it: { dataPages: number }) => sum + it.dataPages, 0),
    )
    const deep = await json('du', 'two', '--explain')
    for (const it of deep.layers) expect(it.changedPages).toBeLessThanOrEqual(it.dataPages + it.zeroPages)
    expect(deep.layers[2].changedPages).toBe((await json('snapshot', 'diff', 'one', 'two')).pages)
    expect(await text('du')).toMatch(/^LAYER OF +LAYOUT +USED BY +ON DISK +DATA +ZERO +INHERITED\n/)
    expect(await text('du', '--explain')).toMatch(/ DUPLICATE +CHANGED\n(.|\n)*\ntotal /)
  })

  test('du has flat copies, too', async () => {
    await right('restore', 'two', '--engine', 'file', '--name', 'flat')
    await right('stop', 'flat')
    const { copies } = await json('du', 'two')
    expect(copies).toEqual([
      expect.objectContaining({ snapshot: ids.two, kind: 'flat', sizeBytes: 8192 * 4096 }),
    ])
    const { blocks } = statSync(copies[0].path)
    expect(copies[0].diskBytes).toBe(blocks * 512)
    expect(await text('du')).toMatch(/^FLAT COPY OF +KIND +ON DISK +SIZE\n(.|\n)*^[0-9a-f]{12} +flat +/m)
    expect((await json('du', 'one')).copies).toEqual([])
  })

  test('tags', async () => {
    expect(await json('snapshot', 'tag', 'two', 'x', 'y')).toEqual({
      id: ids.two,
      tags: ['two', 'latest', 'x', 'y'],
    })
    const moved = await right('snapshot', 'tag', 'one', 'x')
    expect(moved.stderr).toBe(`x named ${ids.two?.slice(0, 12)} before\n`)
    expect((await world.store.resolve('x')).id).toBe(ids.one)
    expect((await json('snapshot', 'tag', '--remove', 'x', 'y')).removed).toEqual([
      { tag: 'x', id: ids.one, tags: ['one'] },
      { tag: 'y', id: ids.two, tags: ['two', 'latest'] },
    ])
    await refused(6, 'NOT_FOUND', 'snapshot', 'tag', '--remove', 'x')
    await refused(6, 'NOT_FOUND', 'snapshot', 'tag', 'nothing', 'x')
    await refused(2, 'INVALID_ARGUMENT', 'snapshot', 'tag', 'two', 'a/b')
    // Nothing is taken away if one of the names is wrong.
    await refused(6, 'NOT_FOUND', 'snapshot', 'rm', 'two', 'nothing')
    expect((await world.store.resolve('two')).tags).toEqual(['two', 'latest'])
  })
})

describe('disks', () => {
  test('come with the snapshot, are compared, and are private to each clone', async () => {
    writeFileSync(world.path('data.img'), Buffer.alloc(2 ** 20, 1))
    writeFileSync(world.path('fixed.img'), Buffer.alloc(2 ** 20, 2))
    const disks = ['--disk', 'data=data.img', '--disk', 'fixed=fixed.img:ro']
    await right('boot', '--kernel', 'micro.elf', '--memory', '16', '--name', 'disks', ...disks)
    await right('snapshot', 'create', 'disks', '--tag', 'disks-1')
    writeFileSync(world.path('data.img'), Buffer.alloc(2 ** 20, 3), { flag: 'r+' })
    await right('snapshot', 'create', 'disks', '--tag', 'disks-2')
    await right('stop', 'disks')
    expect((await json('snapshot', 'show', 'disks-1')).disks).toEqual([
      expect.objectContaining({ drive: 'data', file: 'disk-data', readOnly: false, sizeBytes: 2 ** 20 }),
      expect.objectContaining({ drive: 'fixed', file: 'disk-fixed', readOnly: true, sizeBytes: 2 ** 20 }),
    ])
    expect(await text('snapshot', 'show', 'disks-1')).toMatch(
      /^data +disk-data +1\.0 MiB +writes +[0-9a-f]{12}$/m,
    )
    expect((await json('snapshot', 'diff', 'disks-1', 'disks-2')).disks).toEqual([
      { drive: 'data', sizeBytes: [2 ** 20, 2 ** 20], same: false },
      { drive: 'fixed', sizeBytes: [2 ** 20, 2 ** 20], same: true },
    ])
    await right('restore', 'disks-1', '--name', 'clone')
    const [copies] = readdirSync(world.path('store/varve/clones'))
    const clone = world.path(`store/varve/clones/${copies}/disk-data`)
    expect(readFileSync(clone).every((byte) => byte === 1)).toBe(true)
    await right('stop', 'clone')
    expect(existsSync(clone)).toBe(false)
    await refused(4, 'IMAGE_MISMATCH', 'snapshot', 'diff', 'disks-1', 'base')
    await right('snapshot', 'rm', 'disks-1', 'disks-2')
  })
})

describe('clones', () => {
  test('laid out as a memory file with a footer, and restored from that', async () => {
    expect(await json('flatten', 'two', 'two.d', '--layered')).toMatchObject({ id: ids.two, path: 'two.d' })
    await restoresRight('two.d', 'layered')
    await refused(2, 'ALREADY_EXISTS', 'flatten', 'two', 'two.d', '--layered')
    await refused(2, 'USAGE', 'restore', 'two.d', '--engine', 'layered', '--prefetch', 'before')
    rmSync(world.path('two.d/layer-1'))
    await refused(6, 'NOT_FOUND', 'restore', 'two.d', '--engine', 'layered')
  })

  test('several at once, each with its memory; if one cannot start, none is left', async () => {
    const before = (await json('ps')).machines.length
    for (const engine of ['file', 'paged', 'mapped', 'auto']) {
      const { pages, machines } = await json('clone', 'two', '-n', '3', '--name', 'many', '--engine', engine)
      const { zero, flatFile, layers } = pages.byOrigin
      expect(zero + flatFile + layers[0] + layers[1] + layers[2]).toBe(8192)
      expect(machines.map(({ id }: { id: string }) => id)).toEqual(['many-1', 'many-2', 'many-3'])
      await Promise.all(
        machines.map(async ({ id, memory }: { id: string; memory: { residentBytes: number } }) => {
          expect(memory.residentBytes).toBeGreaterThan(0)
          await using guest = consoleOf(id)
          await guest.verify(second, 2)
          await guest.fill(
            { start: 3000, count: 10 },
            machines.findIndex((it: { id: string }) => it.id === id),
          )
        }),
      )
      for (const [seed, { id }] of machines.entries()) {
        await using guest = consoleOf(id)
        await guest.verify({ start: 3000, count: 10 }, seed)
      }
      await right('stop', 'many-1', 'many-3')
      // many-2 still has its name.
      await refused(2, 'ALREADY_EXISTS', 'clone', 'two', '-n', '3', '--name', 'many', '--engine', engine)
      await right('stop', 'many-2')
      expect((await json('ps')).machines).toHaveLength(before)
    }
    await refused(2, 'USAGE', 'clone', 'two', '-n', '0')
    const auto = await json('restore', 'two', '--name', 'chosen')
    expect(auto.engine).toBe('file')
    expect(auto.reason).toMatch(/^a flat memory file is there, \d+ % of it in the page cache$/)
    await right('stop', 'chosen')
  })
})

describe('changing layers, not images', () => {
  test('squash a run, in every snapshot that has it', async () => {
    await right('snapshot', 'tag', 'two', 'unsquashed')
    const before = await json('snapshot', 'show', 'two')
    const nothing = await json('squash', 'base')
    expect(nothing).toEqual({ id: ids.base, layers: 1, squashed: 0 })
    const done = await json('squash', 'one', '--all')
    expect(done).toMatchObject({ id: ids.one, layers: 1, squashed: 2, layout: 'packed' })
    expect(done.others).toContain(ids.two)
    expect(done.dataPages).toBeLessThan(done.oldDataPages)
    const after = await json('snapshot', 'show', 'two')
    expect(after.layers.map((it: { image: string }) => it.image)).toEqual([ids.one, ids.two])
    expect(after).toMatchObject({ id: before.id, tags: before.tags, parent: before.parent })
    expect(after.extents.dataPages).toBe(before.extents.dataPages)
    expect(await text('squash', 'two', '--above', 'one')).toContain('nothing to squash')
    await refused(2, 'INVALID_ARGUMENT', 'squash', 'two', '--above', 'side')
    await refused(2, 'INVALID_ARGUMENT', 'squash', 'two', '--above', 'two')
    expect(stagings()).toEqual([])
    for (const engine of ['file', 'paged', 'mapped']) await restoresRight('two', engine)
  })

  test('pack and back', async () => {
    const flat = await json('pack', 'two', '--layout', 'flat')
    expect(flat).toMatchObject({ id: ids.two, layout: 'flat', layers: 2, packed: 2, others: [] })
    expect((await json('snapshot', 'show', 'two')).layers.map((it: { layout: string }) => it.layout)).toEqual(
      ['flat', 'flat'],
    )
    await restoresRight('two', 'paged')
    expect(await text('pack', 'two')).toMatch(/^two {2}2 of 2 layers written anew, packed: .* of data\n$/)
    expect(await text('pack', 'two')).toContain('nothing to do')
    await restoresRight('two', 'paged')
  })

  test('pack by a working set', async () => {
    const hot = pageSetFromPages([2118, 2000])
    await writeWorkingSet(world.path('hot.ws'), {
      image: ids.two as string,
      pages: 8192,
      recordedAtMs: 0,
      windowMs: 0,
      readOnly: pageSetFromPages([1024]),
      written: hot,
      groups: [{ atMs: 0, set: hot }],
      notes: {},
    })
    const done = await json('pack', 'two', '--working-set', 'hot.ws')
    expect(done).toMatchObject({ packed: 2, layout: 'packed' })
    const { extentList } = await json('snapshot', 'show', 'two', '--extents')
    const placeOf = (page: number) => {
      const it = extentList.find(
        (run: { firstPage: number; pages: number }) =>
          run.firstPage <= page && page < run.firstPage + run.pages,
      )
      return [it.layer, it.storedPage + page - it.firstPage]
    }
    // First in their files; before, all that has a lower number was.
    expect([2000, 2118, 1024].map(placeOf)).toEqual([
      [1, 0],
      [1, 1],
      [0, 0],
    ])
    await refused(4, 'IMAGE_MISMATCH', 'pack', 'one', '--working-set', 'hot.ws')
    await refused(4, 'FORMAT_INVALID', 'pack', 'two', '--working-set', 'micro.elf')
    for (const engine of ['file', 'paged', 'mapped']) await restoresRight('two', engine)
    // Into one flat layer, which Firecracker loads as it is.
    await right('squash', 'two', '--layout', 'flat')
    await restoresRight('two', 'file')
  })

  test('flatten', async () => {
    const flat = await json('flatten', 'two', 'two.mem', '--state', 'two.state')
    expect(flat).toMatchObject({ id: ids.two, path: 'two.mem', state: 'two.state', layers: 1, pages: 8192 })
    expect(statSync(world.path('two.mem')).size).toBe(32 * 2 ** 20)
    expect(statSync(world.path('two.mem')).mode & 0o777).toBe(0o600)
    await using snapshot = await world.store.open('two')
    expect((await compareImages(snapshot, world.path('two.mem'))).pages).toBe(0)
    expect(readFileSync(world.path('two.state'))).toEqual(readFileSync(snapshot.statePath))
    expect((await right('inspect', 'two.state')).stdout).toContain('Firecracker 1.12')
    await refused(2, 'ALREADY_EXISTS', 'flatten', 'two', 'two.mem')
  })

  test('gc frees the old layers, and says beforehand what it will do', async () => {
    const planned = await json('gc', '--dry-run')
    const there = blobs()
    expect(planned.dryRun).toBe(true)
    expect(planned.removedBlobs).toBeGreaterThan(0)
    expect(await json('gc', '--dry-run')).toEqual(planned)
    const done = await right('gc')
    expect(done.stdout).toMatch(/^removed .*blobs? with/m)
    expect(there.length - blobs().length).toBe(planned.removedBlobs)
    expect((await right('gc')).stdout).toContain('nothing to remove')
    expect(await text('fsck')).toMatch(/: 0 errors, 0 garbage\n$/)
    await restoresRight('two', 'paged')
  })
})

describe('sending them elsewhere', () => {
  test('export and import into another store, and restore there', async () => {
    const { path, bytes, snapshots } = await json('export', 'two.tar', 'two', 'latest', ids.one as string)
    expect(path).toBe('two.tar')
    expect(bytes).toBe(statSync(world.path('two.tar')).size)
    expect(snapshots).toEqual([ids.two, ids.one])
    const came = (await json('import', 'two.tar', '--store', 'there')).snapshots
    expect(came.map((it: { id: string }) => it.id).sort()).toEqual([ids.one, ids.two].sort())
    expect(await text('snapshot', 'ls', '--store', 'there')).toMatch(/^two, latest, unsquashed /m)
    // Its base was not sent, and is not needed.
    expect((await json('snapshot', 'log', 'two', '--store', 'there')).missing).toBe(ids.base)
    expect((await json('fsck', '--store', 'there')).findings).toEqual([])
    for (const engine of ['file', 'paged', 'mapped']) await restoresRight('two', engine, '--store', 'there')
    await refused(2, 'ALREADY_EXISTS', 'export', 'two.tar', 'two')
    await refused(6, 'NOT_FOUND', 'export', 'x.tar', 'two', 'nothing')
    expect(existsSync(world.path('x.tar'))).toBe(false)
    expect((await json('export', 'all.tar', '--all')).snapshots).toEqual(
      expect.arrayContaining([ids.base, ids.one, ids.two]),
    )
  })

  test('a damaged archive is refused, and nothing of it comes in', async () => {
    const bytes = readFileSync(world.path('two.tar'))
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] as number) ^ 1
    writeFileSync(world.path('bad.tar'), bytes)
    await refused(4, 'CHECKSUM_MISMATCH', 'import', 'bad.tar', '--store', 'empty')
    expect((await json('snapshot', 'ls', '--store', 'empty')).snapshots).toEqual([])
    expect((await right('snapshot', 'ls', '--store', 'empty')).stderr).toContain('no snapshots in ')
  })
})

describe('damage', () => {
  test('fsck finds it, says what to do and exits 4; the others restore', async () => {
    cpSync(world.path('there'), world.path('damaged'), { recursive: true })
    const { layers } = await json('snapshot', 'show', 'two', '--store', 'damaged')
    const path = world.path(`damaged/blobs/${layers[0].digest.replace(':', '/')}`)
    const bytes = readFileSync(path)
    bytes[5000] = (bytes[5000] as number) ^ 1
    writeFileSync(path, bytes)

    const check = await varve(world, 'fsck', '--store', 'damaged', '--json')
    expect(check.status).toBe(4)
    expect(JSON.parse(check.stderr).error.code).toBe('STORE_DAMAGED')
    const [finding] = check.json().findings
    expect(finding).toMatchObject({
      severity: 'error',
      code: 'CHECKSUM_MISMATCH',
      path,
      snapshots: [ids.two],
    })
    expect(finding.offset).toBeLessThanOrEqual(5000)
    const plain = await varve(world, 'fsck', '--store', 'damaged')
    expect(plain.status).toBe(4)
    expect(plain.stdout).toContain(path)
    expect(plain.stdout).toContain(`cannot be restored: ${ids.two?.slice(0, 12)}`)
    expect(plain.stdout).toMatch(/^ {4}-> \S/m)
    expect(plain.stdout).toMatch(/: 1 error, \d+ garbage\n$/)

    const message = await refused(4, 'CHECKSUM_MISMATCH', 'restore', 'two', '--store', 'damaged')
    expect(message).toContain(path)
    const show = await varve(world, 'snapshot', 'show', 'two', '--store', 'damaged')
    expect(show.status).toBe(0)
    expect(show.stderr).toContain('not all could be read')
    expect((await json('snapshot', 'show', 'two', '--store', 'damaged')).damage.code).toBe(
      'CHECKSUM_MISMATCH',
    )
    await right('restore', 'one', '--store', 'damaged', '--name', 'well')
    await right('stop', 'well')
  })

  test('a lost manifest is a row that says so', async () => {
    cpSync(world.path('there'), world.path('lost'), { recursive: true })
    const { manifest } = await json('snapshot', 'show', 'two', '--store', 'lost')
    writeFileSync(world.path(`lost/blobs/${manifest.digest.replace(':', '/')}`), '{}')
    const list = await varve(world, 'snapshot', 'ls', '--store', 'lost')
    expect(list.status, list.stderr).toBe(0)
    expect(list.stdout).toMatch(/^two, latest, unsquashed .* damaged +-$/m)
    expect(list.stderr).toContain('see varve fsck')
    const rows = (await json('snapshot', 'ls', '--store', 'lost')).snapshots
    expect(rows.find((it: { id: string }) => it.id === ids.two)).toMatchObject({
      layers: null,
      dataBytes: null,
      error: { code: 'CHECKSUM_MISMATCH' },
    })
    expect((await varve(world, 'fsck', '--store', 'lost')).status).toBe(4)
  })

  test('something else than a store is refused', async () => {
    await refused(6, 'NOT_FOUND', 'snapshot', 'ls', '--store', 'run')
    await refused(4, 'FORMAT_INVALID', 'import', 'two.tar', '--store', 'run')
  })
})

describe('Ctrl-C', () => {
  test.each([
    ['while Firecracker writes', (memory: string) => existsSync(memory)],
    // Varve makes it private as soon as Firecracker has written it; the guest goes on, and indexing begins.
    [
      'while the snapshot is sealed',
      (memory: string) => existsSync(memory) && (statSync(memory).mode & 0o077) === 0,
    ],
  ])('%s leaves nothing behind, and the guest goes on', async (_when, isTime) => {
    // Large enough that neither takes an instant.
    await right('boot', '--kernel', 'micro.elf', '--memory', '512', '--name', 'big')
    {
      await using guest = consoleOf('big')
      await guest.fill(first, 7)
      await right('gc')
      const before = { blobs: blobs(), index: readFileSync(world.path('store/index.json'), 'utf8') }
      const { child, result } = startVarve(
        world,
        'snapshot',
        'create',
        'big',
        '--full',
        '--stop',
        '--tag',
        'never',
      )
      const begun = () =>
        stagings().some((name) => isTime(world.path(`store/varve/staging/${name}/memory`))) ||
        child.exitCode !== null
      while (!begun()) await sleep(1)
      child.kill('SIGINT')
      const { status, stdout, stderr } = await result
      expect(status, stderr).toBe(130)
      expect(stdout).toBe('')
      expect(stderr).toContain('[INTERRUPTED]')
      expect(stagings()).toEqual([])
      expect(blobs()).toEqual(before.blobs)
      expect(readFileSync(world.path('store/index.json'), 'utf8')).toBe(before.index)
      expect((await json('fsck')).findings).toEqual([])

      expect((await connectMachine('big', { runtimeDirectory: world.runtimeDirectory })).state).toBe(
        'running',
      )
      await guest.verify(first, 7)
    }
    // It is not known what its log of written pages counts from now, so the next one is whole.
    const next = await json('snapshot', 'create', 'big', '--no-tag')
    expect(next).toMatchObject({ parent: null, kind: 'full' })
    await right('stop', 'big')
    await right('gc')
  })
})
