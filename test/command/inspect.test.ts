import { cpSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { captureSnapshot, launchMachine } from 'varve'
import { countPages, indexMemoryFile } from 'varve/layers'
import { readStateFile, replaceRegions, writeCrc } from 'varve/state-files'
import { beforeAll, describe, expect, test } from 'vitest'
import { varve } from '../support/cli.js'
import { microWorldOfFile } from '../support/micro-world.js'

const golden = (name: string) => fileURLToPath(new URL(`../golden/firecracker/${name}`, import.meta.url))
const MiB = 2 ** 20

const world = microWorldOfFile()
beforeAll(async () => {
  const { machine, console } = await world.boot({ memoryMib: 32 })
  await using base = await machine.pause()
  await base.snapshot({ type: 'Full', ...filesOf('base') })
  const running = await base.resume()
  await console.fill({ start: 1024, count: 20 }, 1)
  const paused = await running.pause()
  await paused.snapshot({ type: 'Diff', ...filesOf('one') })
  await captureSnapshot(paused, { store: world.store, tags: ['in-store'] })
})
const filesOf = (name: string) => {
  mkdirSync(world.path(`snaps/${name}`), { recursive: true })
  return { statePath: world.path(`snaps/${name}/state`), memoryPath: world.path(`snaps/${name}/memory`) }
}

describe('varve inspect', () => {
  test('a snapshot that Firecracker has just written, with its Diff', async () => {
    for (const name of ['base', 'one']) {
      const inspect = await varve(world, 'inspect', `snaps/${name}`, '--extents', '--json')
      expect(inspect.status, inspect.stderr).toBe(0)
      const { layer, state, memory, notes } = inspect.json()
      expect(layer).toBeNull()
      expect(notes).toEqual([])
      expect(state).toMatchObject({ snapshotVersion: '6.0.0', encoding: 'bincode', arch: 'x86_64' })
      expect(state.vmInfo.memSizeMib).toBe(32)
      expect(state.regions).toEqual([
        { guestAddress: 0, sizeBytes: 32 * MiB, fileOffset: 0, type: 'dram', plugged: [true] },
      ])
      // Indexed by other code from the same file.
      const { index } = await indexMemoryFile(world.path(`snaps/${name}/memory`), {
        kind: name === 'base' ? 'base' : 'diff',
      })
      expect(memory.dataBytes).toBe(countPages(index).data * 4096)
      if (name === 'one') expect(memory.zeroBytes).toBe(countPages(index).zero * 4096)
      expect(memory.regions).toEqual([
        { dataBytes: memory.dataBytes, zeroBytes: memory.zeroBytes, holeBytes: memory.holeBytes },
      ])
      expect(memory.dataBytes + memory.zeroBytes + memory.holeBytes).toBe(32 * MiB)
      const extents = memory.extents as { startBytes: number; endBytes: number }[]
      extents.forEach((it, i) => {
        expect(it.startBytes).toBe(i === 0 ? 0 : extents[i - 1]?.endBytes)
      })
      expect(extents.at(-1)?.endBytes).toBe(32 * MiB)
    }

    // Full: every page is stored. Diff: most are not.
    const full = (await varve(world, 'inspect', 'snaps/base/memory', '--json')).json().memory
    const diff = (await varve(world, 'inspect', 'snaps/one/memory', '--json')).json().memory
    expect(full.holeBytes).toBe(0)
    expect(diff.holeBytes).toBeGreaterThan(30 * MiB)
    expect(diff.dataBytes).toBeGreaterThanOrEqual(20 * 4096)

    const text = await varve(world, 'inspect', 'snaps/one')
    expect(text.stdout).toMatch(/^state file +snaps\/one\/state\n/)
    expect(text.stdout).toMatch(/\n0 +0x0-0x1ffffff +32 MiB +0x0 +dram +1\/1\n/)
    expect(text.stdout).toContain('All DRAM lies below the MMIO gap')
  })

  test('Firecracker loads a state file whose region list was split and written anew', async () => {
    const from = world.path('snaps/base')
    const to = world.path('snaps/split')
    cpSync(from, to, { recursive: true })
    const state = new Uint8Array(readFileSync(`${to}/state`))
    expect(replaceRegions(state, readStateFile(state).regions)).toEqual(state)
    const split = replaceRegions(state, [
      { guestAddress: 0, sizeBytes: 20 * MiB },
      { guestAddress: 20 * MiB, sizeBytes: 12 * MiB },
    ])
    writeFileSync(`${to}/state`, split)
    await using machine = await (await launchMachine(world.launch)).load({
      statePath: `${to}/state`,
      memory: { backend: 'File', path: `${to}/memory` },
    })
    // What it writes next holds the list that it was given.
    await machine.snapshot({ type: 'Full', ...filesOf('again') })
    const inspect = (await varve(world, 'inspect', 'snaps/again', '--json')).json()
    expect(inspect.state.regions.map((it: { sizeBytes: number }) => it.sizeBytes)).toEqual([
      20 * MiB,
      12 * MiB,
    ])
    expect(inspect.state.explanation).toContain('Two regions meet at 0x1400000: the list was split there.')
  })

  test('a layer of the store', async () => {
    const { layers } = await world.store.describe('in-store')
    const path = world.path(`store/blobs/${layers[0]?.digest.replace(':', '/')}`)
    const inspect = await varve(world, 'inspect', path, '--json')
    expect(inspect.status, inspect.stderr).toBe(0)
    const { layer, state, memory } = inspect.json()
    expect([state, memory]).toEqual([null, null])
    expect(layer).toMatchObject({
      image: (await world.store.resolve('in-store')).id,
      parent: null,
      memoryPages: 8192,
      absentPages: 0,
    })
    expect(layer.dataPages + layer.zeroPages).toBe(8192)
    const text = await varve(world, 'inspect', path)
    expect(text.stdout).toMatch(
      /^layer file +\S+\nformat +layer version 1, (flat|packed), \d+ chunk checksums?/,
    )
    expect(text.stdout).toContain('of          32.0 MiB of guest memory')
  })

  test('states of other releases: the gap, and what is missing', async () => {
    const text = await varve(world, 'inspect', golden('1.16.1/two-regions'))
    expect(text.status, text.stderr).toBe(0)
    expect(text.stdout).toContain('MMIO gap: 0xc0000000 to 0xffffffff (1 GiB)')
    expect(text.stdout).toContain('note: no memory file')
    const old = (await varve(world, 'inspect', golden('1.10.1/two-regions/state'), '--json')).json()
    expect(old.state).toMatchObject({ snapshotVersion: '4.0.0', fileOffsets: 'explicit' })
    expect(old.memory).toBeNull()
  })

  test('what a file says cannot steer the terminal', async () => {
    const bytes = new Uint8Array(readFileSync(golden('1.10.1/small/state')))
    // The kernel path begins at byte 42.
    bytes.set([0x1b, 0x5b, 0x32, 0x4a], 42)
    writeCrc(bytes)
    writeFileSync(world.path('escape'), bytes)
    const inspect = await varve(world, 'inspect', 'escape')
    expect(inspect.stdout).not.toContain('\u001b')
    expect(inspect.stdout).toContain('kernel      \\u{1b}[2Jt.elf')
  })

  test('damaged, missing and foreign input', async () => {
    const damaged = readFileSync(golden('1.14.4/small/state'))
    writeFileSync(world.path('damaged'), damaged.subarray(0, 5000))
    const cut = await varve(world, 'inspect', 'damaged', '--json')
    expect([cut.status, JSON.parse(cut.stderr).error.code]).toEqual([4, 'CHECKSUM_MISMATCH'])
    writeFileSync(world.path('foreign'), 'not a state file')
    expect((await varve(world, 'inspect', 'foreign')).status).toBe(4)
    expect((await varve(world, 'inspect', 'nowhere')).status).toBe(6)
    mkdirSync(world.path('bare'))
    expect((await varve(world, 'inspect', 'bare')).status).toBe(6)

    const short = world.path('short')
    cpSync(world.path('snaps/base'), short, { recursive: true })
    truncateSync(`${short}/memory`, 16 * MiB)
    const report = await varve(world, 'inspect', 'short')
    expect(report.stdout).toContain('16.0 MiB too short for the regions')
    rmSync(short, { recursive: true })
  })
})
