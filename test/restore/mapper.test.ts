import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { createInterface } from 'node:readline'
import { captureSnapshot, cloneMachines, type LaunchedMachine, launchMachine, restoreMachine } from 'varve'
import {
  fileIdentity,
  isAlive,
  type MapOrder,
  type MapperAnswer,
  mapperProgram,
  orderToJson,
} from 'varve/testing'
import { pageRange } from 'varve/working-sets'
import { beforeAll, describe, expect, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

const pageBytes = 4096

/** A mapper as the engine starts it, or as another user. */
class TestMapper implements AsyncDisposable {
  readonly child
  readonly #lines
  readonly ended: Promise<unknown[]>

  constructor(uid?: number) {
    this.child = spawn(process.execPath, [mapperProgram, `${process.pid}`], {
      stdio: ['pipe', 'pipe', 'inherit'],
      ...(uid === undefined ? {} : { uid, gid: uid }),
    })
    this.#lines = createInterface(this.child.stdout)[Symbol.asyncIterator]()
    this.ended = once(this.child, 'exit')
  }

  order(order: MapOrder): void {
    this.child.stdin.write(`${orderToJson(order)}\n`)
  }

  async next(): Promise<MapperAnswer> {
    return JSON.parse((await this.#lines.next()).value ?? '') as MapperAnswer
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.child.stdin.end()
    await this.ended
  }
}

const world = microWorldOfFile()
let statePath: string
let memoryPages: number
beforeAll(async () => {
  const { store } = world
  const { machine, console } = await world.boot({
    memoryMib: 32,
  })
  await captureSnapshot(await machine.pause(), { store, tags: ['base'] })
  await console[Symbol.asyncDispose]()
  await machine.stop()
  await using snapshot = await store.open('base')
  statePath = snapshot.statePath
  memoryPages = snapshot.map.pages
})

const launch = () => launchMachine(world.launch)

/** An image of zeros and one layer's first page, over a memory file in the machine's directory. */
function orderFor({ identity, files }: LaunchedMachine): MapOrder {
  const { hostPath } = files.local('memory')
  writeFileSync(hostPath, '', { flag: 'wx', mode: 0o600 })
  truncateSync(hostPath, memoryPages * pageBytes)
  const layer = world.path('layer')
  writeFileSync(layer, Buffer.alloc(pageBytes, 'layer'))
  return {
    vmm: identity,
    memoryFile: fileIdentity(statSync(hostPath, { bigint: true })),
    map: {
      pages: memoryPages,
      starts: Uint32Array.of(0, memoryPages - 1),
      counts: Uint32Array.of(memoryPages - 1, 1),
      sources: Int16Array.of(-1, 0),
      storedStarts: Uint32Array.of(0, 0),
    },
    layers: [{ path: layer, storedPages: 1 }],
    prefault: [],
    prefaultBudgetMs: null,
  }
}

const load = (machine: LaunchedMachine) =>
  machine.load({ statePath, memory: { backend: 'File', localName: 'memory' } })

const tracerOf = (pid: number) =>
  /^TracerPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]

describe('a mapper', () => {
  test('maps what it was ordered to, one order after another, and ends when it is not needed any more', async () => {
    const mapper = new TestMapper()
    for (let round = 0; round < 2; round++) {
      await using machine = await launch()
      mapper.order(orderFor(machine))
      expect(await mapper.next()).toEqual({ state: 'attached' })
      expect(tracerOf(machine.pid)).toBe(`${mapper.child.pid}`)
      const paused = await load(machine)
      expect(await mapper.next()).toMatchObject({ state: 'mapped', report: { regions: 1, mappings: 2 } })
      expect(tracerOf(machine.pid)).toBe('0')
      const memoryPath = world.path(`full-${round}`)
      await paused.snapshot({ type: 'Full', statePath: `${memoryPath}.state`, memoryPath })
      const memory = readFileSync(memoryPath)
      expect(memory.subarray(-pageBytes).equals(Buffer.alloc(pageBytes, 'layer'))).toBe(true)
      // All else is zero but the VMGenID, which the load writes.
      const pages = Array.from({ length: memoryPages - 1 }, (_, page) => page)
      const zero = Buffer.alloc(pageBytes)
      const other = pages.filter(
        (page) => memory.compare(zero, 0, pageBytes, page * pageBytes, (page + 1) * pageBytes) !== 0,
      )
      expect(other).toEqual([0xdf])
    }
    mapper.child.stdin.end()
    expect(await mapper.ended).toEqual([0, null])
  })

  test('kills a VMM whose guest would get other memory than what was mapped', async () => {
    await using mapper = new TestMapper()
    await using machine = await launch()
    const order = orderFor(machine)
    mapper.order({ ...order, memoryFile: fileIdentity(statSync(statePath, { bigint: true })) })
    expect(await mapper.next()).toEqual({ state: 'attached' })
    const loading = load(machine).catch((error: unknown) => error)
    expect(await mapper.next()).toMatchObject({
      state: 'failed',
      error: { code: 'INJECTION_FAILED', message: expect.stringContaining('does not come from') },
    })
    expect(await loading).toMatchObject({ code: 'MACHINE_EXITED' })
    expect((await machine.exited).signal).toBe('SIGKILL')
  })

  test('kills a VMM that maps its memory file in another size than the image has', async () => {
    await using mapper = new TestMapper()
    await using machine = await launch()
    const order = orderFor(machine)
    const short = memoryPages - 10
    const map = {
      ...order.map,
      pages: short,
      counts: Uint32Array.of(short - 1, 1),
      starts: Uint32Array.of(0, short - 1),
    }
    mapper.order({ ...order, map })
    expect(await mapper.next()).toEqual({ state: 'attached' })
    const loading = load(machine).catch((error: unknown) => error)
    expect(await mapper.next()).toMatchObject({ state: 'failed', error: { code: 'INJECTION_FAILED' } })
    expect(await loading).toMatchObject({ code: 'MACHINE_EXITED' })
  })

  test('without the right to trace says so, and leaves the VMM as it is', async () => {
    await using mapper = new TestMapper(54_321)
    await using machine = await launch()
    const order = orderFor(machine)
    mapper.order({
      ...order,
      layers: [],
      map: {
        ...order.map,
        pages: 1,
        starts: Uint32Array.of(0),
        counts: Uint32Array.of(1),
        sources: Int16Array.of(-1),
        storedStarts: Uint32Array.of(0),
      },
    })
    expect(await mapper.next()).toMatchObject({
      state: 'failed',
      error: { code: 'HOST_UNSUPPORTED', remedy: expect.stringContaining('CAP_SYS_PTRACE') },
    })
    expect(isAlive(machine.identity)).toBe(true)
    expect((await machine.info()).state).toBe('Not started')
  })

  test('with a layer that is too short, or a VMM that is gone, touches nothing and takes the next order', async () => {
    await using mapper = new TestMapper()
    await using machine = await launch()
    const order = orderFor(machine)
    mapper.order({ ...order, layers: [{ ...(order.layers[0] as { path: string }), storedPages: 2 }] })
    expect(await mapper.next()).toMatchObject({ state: 'failed', error: { code: 'IMAGE_MISMATCH' } })
    mapper.order({ ...order, vmm: { ...order.vmm, startTime: 1 } })
    expect(await mapper.next()).toMatchObject({ state: 'failed', error: { code: 'MACHINE_EXITED' } })
    mapper.order(order)
    expect(await mapper.next()).toEqual({ state: 'attached' })
    await load(machine)
    expect(await mapper.next()).toMatchObject({ state: 'mapped' })
  })

  test('is told of a VMM that ends before its load, and of a load that is refused', async () => {
    await using mapper = new TestMapper()
    {
      await using machine = await launch()
      mapper.order(orderFor(machine))
      expect(await mapper.next()).toEqual({ state: 'attached' })
      await machine.stop()
      expect(await mapper.next()).toMatchObject({ state: 'failed', error: { code: 'MACHINE_EXITED' } })
    }
    await using machine = await launch()
    mapper.order(orderFor(machine))
    expect(await mapper.next()).toEqual({ state: 'attached' })
    const wrong = world.path('wrong.state')
    writeFileSync(wrong, 'no state')
    const loading = machine.load({ statePath: wrong, memory: { backend: 'File', localName: 'memory' } })
    await expect(loading).rejects.toMatchObject({ code: 'LOAD_FAILED' })
    expect(await mapper.next()).toMatchObject({ state: 'failed', error: { code: 'MACHINE_EXITED' } })
  })
})

test('many restores at once share a few mappers, which wait for more', async () => {
  const { store, binary, runtimeDirectory } = world
  const clones = await cloneMachines(store, 'base', 8, {
    engine: 'mapped',
    parallel: 8,
    binary,
    runtimeDirectory,
  })
  for (const { machine, report } of clones) {
    expect(report.mapping?.mappings).toBeGreaterThan(0)
    await machine.stop()
  }
  const mappers = childrenRunning('mapper-main.js')
  expect(mappers).toBeGreaterThanOrEqual(1)
  expect(mappers).toBeLessThanOrEqual(Math.min(4, availableParallelism()))
})

/** How many processes of this one have that word in their command line. */
function childrenRunning(word: string): number {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false
    try {
      const parent = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[1]
      return parent === `${process.pid}` && readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(word)
    } catch {
      return false
    }
  }).length
}

describe('a working set that comes alongside the load', () => {
  const workingSet = async () => {
    await using snapshot = await world.store.open('base')
    const set = { readOnly: pageRange(100, 50), written: pageRange(200, 20) }
    return {
      image: snapshot.entry.id,
      pages: memoryPages,
      recordedAtMs: 0,
      windowMs: 0,
      ...set,
      groups: [],
      notes: {},
    }
  }

  test('is waited for if Firecracker is not linked with musl, and the report says so', async () => {
    const musl = Buffer.from('b80b0000000f054831ffb83c0000000f05', 'hex')
    const code = readFileSync(world.binary.path)
    const at = code.indexOf(musl)
    expect(at).toBeGreaterThan(0)
    // The same in other bytes: xor edi, edi.
    Buffer.from('31ff90', 'hex').copy(code, at + 7)
    const path = world.path('firecracker-of-another-libc')
    writeFileSync(path, code, { mode: 0o700 })
    const { runtimeDirectory } = world
    const prefaultOf = async (binary: typeof world.binary) => {
      const options = { engine: 'mapped' as const, binary, runtimeDirectory, workingSet: await workingSet() }
      const { machine, report, prefetching } = await restoreMachine(world.store, 'base', options)
      await using _machine = machine
      expect(await prefetching).toMatchObject({ failure: null })
      return report.mapping?.prefault
    }
    const counts = { readOnlyPages: 50, writtenPages: 20, refusedCalls: 0 }
    expect(await prefaultOf({ ...world.binary, path })).toEqual({
      ...counts,
      besidePages: 0,
      thread: null,
      heldBecause: 'this Firecracker is not linked with musl',
    })
    expect(await prefaultOf(world.binary)).toEqual({
      ...counts,
      besidePages: 70,
      thread: expect.any(Number),
      heldBecause: null,
    })
  })

  test('never costs a VM, however short the set', async () => {
    const { binary, runtimeDirectory } = world
    const set = await workingSet()
    for (let round = 0; round < 40; round++) {
      const restored = await restoreMachine(world.store, 'base', {
        engine: 'mapped',
        binary,
        runtimeDirectory,
        resume: false,
        workingSet: { ...set, readOnly: pageRange(100, 1), written: pageRange(200, 0) },
      })
      await using machine = restored.machine
      await restored.prefetching
      expect(readdirSync(`/proc/${machine.pid}/task`).length).toBe(3)
    }
  })
})
