import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  expectedPage,
  firecrackerBootPages,
  firecrackerLoadPages,
  firstUsablePage,
  MicroConsole,
  type MicroGuest,
  microGuestOwnPages,
  pageWord,
  sumOfPages,
  touchedPages,
} from '@varve/lab'
import { launchMachine, listMachines } from 'varve'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { failure } from '../support/failure.js'
import { microWorldOfFile } from '../support/micro-world.js'

const world = microWorldOfFile()

const boot = (memoryMib: number) => world.boot({ memoryMib })

function* pagesOfFile(path: string, pages: Iterable<number>): Generator<[number, Buffer]> {
  const fd = openSync(path, 'r')
  try {
    for (const page of pages) {
      const bytes = Buffer.alloc(4096)
      expect(readSync(fd, bytes, 0, 4096, page * 4096)).toBe(4096)
      yield [page, bytes]
    }
  } finally {
    closeSync(fd)
  }
}

const range = (start: number, count: number) => Array.from({ length: count }, (_, index) => start + index)

describe('commands', () => {
  let guest: MicroGuest
  beforeAll(async () => {
    guest = await boot(64)
  })
  afterAll(async () => {
    await guest?.[Symbol.asyncDispose]()
    expect(listMachines(world.runtimeDirectory)).toEqual([])
  })

  test('the guest counts its pages', async () => {
    expect(guest.pages).toBe(16384)
    expect(await guest.console.memory()).toEqual({ pages: 16384, split: 16384, gap: 0 })
    await guest.console.ping()
  })

  test('what is filled verifies, whole and by words, in any order', async () => {
    const { console } = guest
    const run = { start: 600, count: 300 }
    expect(await console.fill(run, 7)).toBe(300)
    expect(await console.verify(run, 7)).toBe(300)
    expect(await console.verify({ ...run, order: 5 }, 7, { words: 8 })).toBe(300)
    const sparse = { start: 1000, count: 70, stride: 13, order: 99 }
    expect(await console.write(sparse, 4_294_967_295, { words: 16 })).toBe(70)
    expect(await console.verify({ start: 1000, count: 70, stride: 13 }, 4_294_967_295, { words: 16 })).toBe(
      70,
    )
  })

  test('a wrong word is found, with its place and origin', async () => {
    const { console } = guest
    await console.fill({ start: 2000, count: 10 }, 1)
    await console.writePages([2004], 2)
    const error = await failure(console.verify({ start: 2000, count: 10 }, 1))
    expect(error.code).toBe('GUEST_MEMORY')
    expect(error.details).toMatchObject({ page: 2004, byte: 0, whose: { page: 2004, seed: 2 } })
    // The last word of a page, at the end of the compare instruction.
    await console.write({ start: 2004, count: 1 }, 1)
    await console.write({ start: 2007, count: 1 }, 3, { words: 512 })
    await console.write({ start: 2007, count: 1 }, 1, { words: 256 })
    expect((await failure(console.verify({ start: 2000, count: 10 }, 1))).details).toMatchObject({
      page: 2007,
      byte: 8,
      whose: { page: 2007, seed: 3 },
    })
    expect(await console.verify({ start: 2000, count: 10 }, 1, { words: 256 })).toBe(10)
    const words = await failure(console.verify({ start: 2100, count: 1 }, 1, { words: 4 }))
    expect(words.message).toContain('(zero)')
  })

  test('reads return the exclusive or of what the host computes', async () => {
    const { console } = guest
    await console.write({ start: 3000, count: 500 }, 11)
    const xor = (pages: readonly number[]) => pages.reduce((sum, page) => sum ^ pageWord(page, 11), 0n)
    for (const pattern of [
      { start: 3000, count: 500 },
      { start: 3001, count: 99, stride: 5 },
      { start: 3001, count: 97, stride: 5, order: 123_456 },
    ])
      expect(await console.read(pattern)).toEqual({
        count: pattern.count,
        value: xor(touchedPages(pattern)),
      })
    // More than one line takes.
    const list = range(3000, 500).filter((page) => page % 7 !== 0)
    expect(await console.readPages(list)).toEqual({ count: list.length, value: xor(list) })
    expect(await console.readPages([])).toEqual({ count: 0, value: 0n })
  })

  test('zeroing and sums see every word', async () => {
    const { console } = guest
    await console.fill({ start: 4000, count: 4 }, 21)
    await console.write({ start: 4001, count: 2 }, 22, { words: 2 })
    await console.zero({ start: 4003, count: 1 })
    const pages = [
      expectedPage(4000, 21),
      expectedPage(4001, 22, { words: 2, before: expectedPage(4001, 21) }),
      expectedPage(4002, 22, { words: 2, before: expectedPage(4002, 21) }),
      new Uint8Array(4096),
    ]
    expect(await console.sum({ start: 4000, count: 4 })).toEqual({ count: 4, value: sumOfPages(pages) })
  })

  // The sum's value depends on the order in which pages are visited, so it shows the order itself.
  test('a shuffled pass visits pages in the order that touchedPages says', async () => {
    const { console } = guest
    for (const [count, order] of [
      [1, 9],
      [2, 1],
      [33, 77],
      [64, 4_294_967_295],
    ] as const) {
      const pattern = { start: 5000, count, stride: 3, order }
      await console.fill({ start: 5000, count, stride: 3 }, 31)
      const visited = touchedPages(pattern).map((page) => expectedPage(page, 31))
      expect(await console.sum(pattern)).toEqual({ count, value: sumOfPages(visited) })
    }
  })

  test('pages of the guest, of Firecracker and behind the end are refused, and nothing is touched', async () => {
    const { console } = guest
    await console.fill({ start: 16383, count: 1 }, 41)
    for (const run of [
      { start: firstUsablePage - 1, count: 1 },
      { start: 16384, count: 1 },
      { start: 16383, count: 2 },
      { start: 16000, count: 129, stride: 3 },
      { start: 512, count: 2 ** 25 },
    ])
      expect((await failure(console.fill(run, 42))).code).toBe('INVALID_ARGUMENT')
    expect((await failure(console.writePages([16383, 0], 42))).code).toBe('INVALID_ARGUMENT')
    expect(await console.verify({ start: 16383, count: 1 }, 41)).toBe(1)
    expect(await console.fill({ start: 512, count: 0 }, 42)).toBe(0)
  })

  test('calls made at once are answered in turn', async () => {
    const { console } = guest
    const counts = await Promise.all([1, 2, 3, 4, 5].map((count) => console.write({ start: 6000, count }, 1)))
    expect(counts).toEqual([1, 2, 3, 4, 5])
  })

  test('an aborted call leaves a console that works', async () => {
    const { console } = guest
    const signal = AbortSignal.timeout(20)
    const error = await failure(console.sum({ start: 512, count: 500 }, { signal }))
    expect(error.code).toBe('TIMEOUT')
    await console.ping()
    expect((await failure(console.sum({ start: 512, count: 500 }, { timeoutMs: 20 }))).code).toBe(
      'GUEST_PROTOCOL',
    )
    expect(await console.write({ start: 512, count: 3 }, 1)).toBe(3)
  })
})

describe('which pages a guest touches', () => {
  test('a Full holds the patterns, byte for byte, and else only boot pages', async () => {
    await using booted = await boot(32)
    const { machine, console } = booted
    await console.fill({ start: 1000, count: 64 }, 1)
    await console.write({ start: 1010, count: 10, stride: 3, order: 7 }, 2)
    await console.write({ start: 5000, count: 200, stride: 15 }, 3, { words: 4 })
    await console.read({ start: 512, count: 400 })
    const expected = new Map(range(1000, 64).map((page) => [page, expectedPage(page, 1)]))
    for (const page of touchedPages({ start: 1010, count: 10, stride: 3 })) {
      const before = expected.get(page) as Uint8Array
      expected.set(page, expectedPage(page, 2, { words: 1, before }))
    }
    for (const page of touchedPages({ start: 5000, count: 200, stride: 15 }))
      expected.set(page, expectedPage(page, 3, { words: 4 }))

    const paused = await machine.pause()
    const files = { statePath: world.path('full.state'), memoryPath: world.path('full.mem') }
    await paused.snapshot({ type: 'Full', ...files })
    expect(statSync(files.memoryPath).size).toBe(32 * 2 ** 20)
    const own = microGuestOwnPages(32 * 2 ** 20)
    const wrong: number[] = []
    const bootPages: number[] = []
    for (const [page, bytes] of pagesOfFile(files.memoryPath, range(0, 8192))) {
      if (page < firstUsablePage) {
        if (page >= own.start && page < own.start + own.count) continue
        if (bytes.some((byte) => byte !== 0)) bootPages.push(page)
      } else if (!bytes.equals(expected.get(page) ?? new Uint8Array(4096))) wrong.push(page)
    }
    expect(wrong).toEqual([])
    expect(Math.max(...bootPages)).toBeLessThan(own.start)
    expect(bootPages).toEqual(firecrackerBootPages(world.binary.version))
  })

  test('a Diff after a load holds the pages written, not those read', async () => {
    await using booted = await boot(64)
    const { machine, console } = booted
    await console.fill({ start: 4000, count: 100 }, 1)
    const base = { statePath: world.path('base.state'), memoryPath: world.path('base.mem') }
    await (await machine.pause()).snapshot({ type: 'Full', ...base })

    const launched = await launchMachine(world.launch)
    await using _launched = launched
    await using twin = MicroConsole.attach(launched.paths)
    const memory = { backend: 'File', path: base.memoryPath } as const
    const running = await launched.loadAndResume({ statePath: base.statePath, memory })
    // 2 MiB ranges that no one has touched before, too.
    await twin.read({ start: 512, count: 2000, stride: 7, order: 1 })
    await twin.verify({ start: 4000, count: 100 }, 1)
    const written = { start: 4000, count: 60, stride: 160, order: 2 }
    await twin.write(written, 2)
    const diff = { statePath: world.path('diff.state'), memoryPath: world.path('diff.mem') }
    await (await running.pause()).snapshot({ type: 'Diff', ...diff })

    const zero = new Uint8Array(4096)
    const held: number[] = []
    for (const [page, bytes] of pagesOfFile(diff.memoryPath, range(0, 16384)))
      if (!bytes.equals(zero)) held.push(page)
    const { start, count } = microGuestOwnPages(64 * 2 ** 20)
    const own = range(start, count)
    const ofTheLoad = firecrackerLoadPages(world.binary.version)
    expect(held.filter((page) => page < firstUsablePage && !own.includes(page))).toEqual(ofTheLoad)
    expect(held.filter((page) => page >= firstUsablePage)).toEqual(touchedPages({ ...written, order: 0 }))
  })

  test('pages on both sides of the gap below 4 GiB', async () => {
    await using booted = await boot(4096)
    const { machine, console, pages } = booted
    expect(pages).toBe(2 ** 20)
    const { split, gap } = await console.memory()
    expect(split + gap).toBe(2 ** 20)
    expect([3 * 2 ** 18, 3328 * 256]).toContain(split)

    const across = { start: split - 10, count: 20 }
    const sparse = { start: 512, count: 1047, stride: 1001 }
    expect(await console.fill(across, 1)).toBe(20)
    expect(await console.verify({ ...across, order: 3 }, 1)).toBe(20)
    expect(await console.write({ ...sparse, order: 6 }, 2)).toBe(1047)
    expect(await console.verify(sparse, 2, { words: 1 })).toBe(1047)
    expect(await console.writePages([pages - 1], 3)).toBe(1)
    const wrong = await failure(console.verify({ start: split - 2, count: 4 }, 9))
    expect(wrong.details).toMatchObject({ page: split - 2, whose: { page: split - 2, seed: 1 } })

    const paused = await machine.pause()
    const files = { statePath: world.path('gap.state'), memoryPath: world.path('gap.mem') }
    await paused.snapshot({ type: 'Diff', ...files })
    const expected = new Map(range(across.start, 20).map((page) => [page, expectedPage(page, 1)]))
    for (const page of touchedPages(sparse)) {
      const before = expected.get(page)
      expected.set(page, expectedPage(page, 2, { words: 1, ...(before ? { before } : {}) }))
    }
    expected.set(pages - 1, expectedPage(pages - 1, 3, { words: 1 }))
    const differing: number[] = []
    for (const [page, bytes] of pagesOfFile(files.memoryPath, expected.keys()))
      if (!bytes.equals(expected.get(page) as Uint8Array)) differing.push(page)
    expect(differing).toEqual([])
  })
})

describe('snapshots', () => {
  test('the guest goes on after a snapshot, and in clones, also with input that came early', async () => {
    await using booted = await boot(32)
    const { machine, console } = booted
    const run = { start: 1000, count: 100 }
    await console.fill(run, 1)
    const paused = await machine.pause()
    const statePath = world.path('clone.state')
    const memoryPath = world.path('clone.mem')
    await paused.snapshot({ type: 'Full', statePath, memoryPath })
    await paused.resume()
    expect(await console.verify(run, 1)).toBe(100)

    for (let clone = 0; clone < 6; clone++) {
      const launched = await launchMachine(world.launch)
      await using _launched = launched
      await using twin = MicroConsole.attach(launched.paths)
      const memory = { backend: 'File', path: memoryPath } as const
      // A command may wait in the FIFO before there is a guest to read it.
      const early = clone % 2 === 0 ? twin.ping() : undefined
      if (clone < 3) await launched.loadAndResume({ statePath, memory })
      else await (await launched.load({ statePath, memory })).resume()
      await early
      expect(await twin.verify(run, 1)).toBe(100)
      expect(await twin.write(run, 2 + clone)).toBe(100)
      expect(await twin.verify(run, 2 + clone, { words: 1 })).toBe(100)
    }
    expect(await console.verify(run, 1)).toBe(100)
  })

  test('a guest paused at any time, in the middle of a line or a command, goes on and can be cloned', async () => {
    await using booted = await boot(32)
    const { machine, console } = booted
    const list = range(600, 300)
    await console.write({ start: 600, count: 300 }, 1)
    const value = list.reduce((sum, page) => sum ^ pageWord(page, 1), 0n)
    let running = machine
    for (const [clone, delayMs] of [0, 1, 2, 4, 8, 40].entries()) {
      const asked = console.readPages(list)
      await sleep(delayMs)
      const paused = await running.pause()
      const statePath = world.path(`middle${clone}.state`)
      const memoryPath = world.path(`middle${clone}.mem`)
      await paused.snapshot({ type: 'Full', statePath, memoryPath })
      running = await paused.resume()
      expect(await asked).toEqual({ count: 300, value })

      const launched = await launchMachine(world.launch)
      await using _launched = launched
      await using twin = MicroConsole.attach(launched.paths)
      await launched.loadAndResume({ statePath, memory: { backend: 'File', path: memoryPath } })
      expect(await twin.readPages(list)).toEqual({ count: 300, value })
    }
  })

  test('a call in flight ends with its machine', async () => {
    await using booted = await boot(32)
    const { machine, console } = booted
    const call = failure(console.sum({ start: 512, count: 4000 }))
    await machine.stop()
    expect((await call).code).toBe('MACHINE_EXITED')
  })

  test('exit ends the VMM', async () => {
    await using booted = await boot(32)
    const { machine, console } = booted
    await console.exit()
    expect((await machine.exited).code).toBe(0)
    expect((await failure(console.ping())).code).toBe('MACHINE_EXITED')
  })
})
