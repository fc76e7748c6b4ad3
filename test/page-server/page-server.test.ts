import {
  closeSync,
  existsSync,
  lstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { ProcessIdentity, ServingProcesses } from 'varve'
import {
  dropPageCache,
  ensurePageServer,
  isAlive,
  openDescriptors,
  orderService,
  pageServerRoot,
  recordedFromJson,
  residentPages,
  startPageServer,
} from 'varve/testing'
import { pageSetFromPages, type WorkingSet } from 'varve/working-sets'
import { describe, expect, test } from 'vitest'
import {
  allPages,
  ask,
  eventually,
  handshakeText,
  imagePages,
  isZeroPage,
  memoryPageOf,
  memoryPages,
  openPageServerWorld,
  optionsOf,
  ownRuntime,
  type PageServerWorld,
  pageBytes,
  shuffled,
  wordOfPage,
  words,
} from '../support/page-server-world.js'

/** The server gave this VM up: it was killed, with the reason in log and death.json. The server lives on. */
async function expectRefusal(
  world: PageServerWorld,
  { server }: { readonly server: ProcessIdentity },
  reason: string,
): Promise<void> {
  expect(await world.vmmEnded).toEqual({ code: null, signal: 'SIGKILL' })
  expect(world.log()).toMatch(/^page server: /)
  expect(world.log()).toContain(reason)
  expect(world.death()?.reason).toBe('page-server-died')
  expect(world.death()?.detail).toContain(reason)
  expect(isAlive(server)).toBe(true)
}

describe('serving', () => {
  test('layers and zero runs, every page right, the trace in fault order', async () => {
    await using world = await openPageServerWorld()
    await world.start()
    await ask(world.config.controlPath, '{"op":"record","writes":false}\n', 1)
    await world.attach()
    // Single pages first: they fault one by one, in this order, and twice not at all.
    const order = shuffled(allPages.filter((page) => !isZeroPage(page)))
    expect(await words(world, [...order, ...order])).toEqual([...order, ...order].map(wordOfPage))
    const requests = '{"op":"recorded","next":"stop"}\n{"op":"stats"}\n'
    const [trace, stats] = (await ask(world.config.controlPath, requests, 2)) as [
      unknown,
      Record<string, number>,
    ]
    expect([...recordedFromJson(trace, imagePages).pages]).toEqual(order)
    expect(stats).toMatchObject({
      faults: order.length,
      copiedPages: order.length,
      zeroCalls: 0,
      existing: 0,
    })
    const all = shuffled(allPages)
    expect(await words(world, all)).toEqual(all.map(wordOfPage))
    const [after] = (await ask(world.config.controlPath, '{"op":"stats"}\n', 1)) as [Record<string, number>]
    expect(after.copiedPages).toBe(order.length)
    expect(after.zeroCalls).toBeGreaterThan(10)
    expect(after.zeroCalls).toBeLessThan(imagePages - order.length)
  })

  test('pages given back while others are touched read zero; all others are right', async () => {
    await using world = await openPageServerWorld()
    await world.start()
    await world.attach()
    // Runs of 1 to 4 pages, 300 of them, in either region; some were touched before, most were not.
    const removed = new Set<number>()
    const runs = Array.from({ length: 300 }, (_, index) => {
      const first = index * 10 + (index % 3)
      const count = 1 + (index % 4)
      for (let page = first; page < first + count; page++) removed.add(page)
      return [memoryPageOf(first), count]
    })
    await words(world, [...removed].slice(0, 100))
    const kept = shuffled(allPages.filter((page) => !removed.has(page)))
    const { words: during } = await world.vmm.order<{ words: number[] }>({
      op: 'balloon',
      runs,
      pages: kept.map(memoryPageOf),
    })
    expect(during).toEqual(kept.map(wordOfPage))
    const all = shuffled(allPages)
    expect(await words(world, all)).toEqual(all.map((page) => (removed.has(page) ? 0 : wordOfPage(page))))
    const [stats] = (await ask(world.config.controlPath, '{"op":"stats"}\n', 1)) as [Record<string, number>]
    expect(stats.removedPages).toBe(removed.size)
  })

  test('pages whose memory was replaced are zero, and do not keep the zero run before them from being served', async () => {
    await using world = await openPageServerWorld()
    await world.start()
    await world.attach()
    const first = allPages.find((page) => allPages.slice(page, page + 100).every(isZeroPage)) as number
    const data = allPages.find((page) => !isZeroPage(page)) as number
    for (const page of [first + 10, data])
      expect(await world.vmm.order({ op: 'replace', page: memoryPageOf(page), count: 1 })).toEqual({
        replaced: true,
      })
    const touched = [first, first + 9, first + 10, first + 11, data]
    expect(await words(world, touched)).toEqual([0, 0, 0, 0, 0])
    const kept = shuffled(allPages.filter((page) => page !== data))
    expect(await words(world, kept)).toEqual(kept.map(wordOfPage))
  })

  test('a handshake in many pieces is put together', async () => {
    await using world = await openPageServerWorld()
    await world.start()
    const { address } = await world.vmm.order<{ address: number }>({ op: 'memory', pages: memoryPages })
    const parts = handshakeText(address).match(/.{1,25}/g)
    const path = world.config.socketPath
    await world.vmm.order({ op: 'send', path, parts, descriptors: ['uffd'], end: true })
    expect(await words(world, [5, 2500])).toEqual([5, 2500].map(wordOfPage))
  })
})

describe('a recording of writes', () => {
  const data = shuffled(allPages.filter((page) => !isZeroPage(page)))
  const zero = shuffled(allPages.filter(isZeroPage))
  const [read, written, readThenWritten, writtenSame] = [
    [...data.slice(0, 200), ...zero.slice(0, 100)],
    [...data.slice(200, 400), ...zero.slice(100, 200)],
    [...data.slice(400, 600), ...zero.slice(200, 300)],
    zero.slice(300, 310),
  ]
  const write = (world: PageServerWorld, pages: readonly number[], word: number, readFirst = false) =>
    world.vmm.order({ op: 'write', pages: pages.map(memoryPageOf), word, readFirst })

  test.each(['before', 'after'])(
    'begun %s the handshake, names each written page, whatever came first',
    async (when) => {
      await using world = await openPageServerWorld()
      const pageServer = await startPageServer(optionsOf(world))
      if (when === 'before') await pageServer.record({ writes: true })
      await world.attach()
      if (when === 'after') await pageServer.record({ writes: true })
      await words(world, read)
      await write(world, written, 7)
      await write(world, readThenWritten, 8, true)
      await write(world, writtenSame, 0)
      const found = await pageServer.recorded({ next: 'stop' })
      expect(found.touched).toEqual(
        pageSetFromPages([...read, ...written, ...readThenWritten, ...writtenSame]),
      )
      expect(found.written).toEqual(pageSetFromPages([...written, ...readThenWritten]))
      expect(found.unchanged).toEqual(pageSetFromPages(writtenSame))
      expect([...found.pages]).toEqual([...read, ...written, ...readThenWritten, ...writtenSame])
      // Nothing was lost on the way, and nothing is protected or recorded any more.
      const changed = new Map([
        ...written.map((page) => [page, 7]),
        ...readThenWritten.map((page) => [page, 8]),
      ] as [number, number][])
      expect(await words(world, allPages)).toEqual(
        allPages.map((page) => changed.get(page) ?? wordOfPage(page)),
      )
      const { firstWrites } = await pageServer.stats()
      expect(firstWrites).toBe(readThenWritten.length)
      await write(world, allPages, 9)
      expect((await pageServer.stats()).firstWrites).toBe(firstWrites)
      await expect(pageServer.recorded()).rejects.toMatchObject({
        code: 'RECORDER_UNRELIABLE',
        message: expect.stringContaining('nothing is recorded'),
      })
    },
  )

  test('period by period: what was there already is protected again', async () => {
    await using world = await openPageServerWorld()
    const pageServer = await startPageServer(optionsOf(world))
    await world.attach()
    // Before anything is recorded: pages of layers and, in large calls, zero pages.
    await words(world, [...data.slice(0, 1000), ...zero.slice(0, 400)])
    await pageServer.record({ writes: true })
    const periods = [
      [...data.slice(0, 300), ...zero.slice(0, 200), ...data.slice(1000, 1100)],
      [...data.slice(200, 250), ...zero.slice(150, 450), ...data.slice(1050, 1060)],
      [],
      allPages,
    ]
    for (const [index, pages] of periods.entries()) {
      await write(world, pages, 100 + index)
      const { written } = await pageServer.recorded({ next: 'again' })
      expect(written).toEqual(pageSetFromPages(pages))
    }
    expect(await words(world, allPages)).toEqual(allPages.map(() => 103))
  })
})

describe('fetching ahead', () => {
  const wanted = shuffled(allPages).slice(0, 1500)
  const workingSet: WorkingSet = {
    image: '1'.repeat(32),
    pages: imagePages,
    recordedAtMs: 0,
    windowMs: 1,
    readOnly: pageSetFromPages(wanted.slice(0, 1000)),
    written: pageSetFromPages(wanted.slice(1000)),
    groups: [
      { atMs: 1, set: pageSetFromPages(wanted.slice(300, 1200)) },
      { atMs: 2, set: pageSetFromPages(wanted.slice(0, 200)) },
    ],
    notes: {},
  }
  const start = (world: PageServerWorld) => startPageServer({ ...optionsOf(world), workingSet })

  test.each(['in the page cache', 'on disk'])(
    'of layers %s installs the set, and nobody asks for its pages',
    async (where) => {
      await using world = await openPageServerWorld()
      const fds = world.config.layers.map(({ path }) => openSync(path, 'r'))
      if (where === 'on disk') for (const fd of fds) dropPageCache(fd)
      const cold = fds.filter((fd) => residentPages(fd).every((byte) => (byte & 1) === 0)).length
      for (const fd of fds) closeSync(fd)
      const pageServer = await start(world)
      expect(await pageServer.prefetched()).toMatchObject({ state: 'waiting', ms: null })
      await world.attach()
      const report = await pageServer.prefetched({ wait: true })
      expect(report).toMatchObject({
        state: 'finished',
        failure: null,
        plannedPages: wanted.length,
        copiedPages: wanted.filter((page) => !isZeroPage(page)).length,
        zeroPages: wanted.filter(isZeroPage).length,
        existingPages: 0,
        directLayers: where === 'on disk' ? cold : 0,
      })
      expect(report.readBytes > 0).toBe(report.directLayers !== 0)
      expect(await words(world, wanted)).toEqual(wanted.map(wordOfPage))
      expect((await pageServer.stats()).faults).toBe(0)
      expect(await words(world, allPages)).toEqual(allPages.map(wordOfPage))
    },
  )

  test('beside a VM that touches everything at once, each page is right and counted once', async () => {
    await using world = await openPageServerWorld()
    const pageServer = await start(world)
    await world.attach()
    const order = shuffled(allPages)
    expect(await words(world, order)).toEqual(order.map(wordOfPage))
    const { state, copiedPages, zeroPages, existingPages } = await pageServer.prefetched({ wait: true })
    expect(state).toBe('finished')
    expect(copiedPages + zeroPages + existingPages).toBe(wanted.length)
    const stats = await pageServer.stats()
    expect(stats.copiedPages + copiedPages).toBe(allPages.filter((page) => !isZeroPage(page)).length)
  })

  test('beside a VM that gives pages back, those read as zero, all others as in the image', async () => {
    await using world = await openPageServerWorld()
    const pageServer = await start(world)
    await world.attach()
    const removed = allPages.filter((page) => page % 10 < 2)
    const runs = allPages.filter((page) => page % 10 === 0).map((page) => [memoryPageOf(page), 2])
    const kept = shuffled(allPages.filter((page) => page % 10 >= 2))
    const { words: during } = await world.vmm.order<{ words: number[] }>({
      op: 'balloon',
      runs,
      pages: kept.map(memoryPageOf),
    })
    expect(during).toEqual(kept.map(wordOfPage))
    const found = await words(world, removed)
    expect(found.filter((word) => word !== 0)).toEqual([])
    expect(['finished', 'halted']).toContain((await pageServer.prefetched({ wait: true })).state)
  })

  test('a set that cannot be read fails alone: the VM is served', async () => {
    await using world = await openPageServerWorld({ workingSetPath: '/no/such/set' })
    await world.start()
    await world.attach()
    const [report] = await ask(world.config.controlPath, '{"op":"prefetched","wait":true}\n', 1)
    expect(report).toMatchObject({ state: 'failed', failure: expect.stringContaining('/no/such/set') })
    expect(await words(world, allPages)).toEqual(allPages.map(wordOfPage))
  })

  test('a recording must wait for its end; without a set there is nothing to ask', async () => {
    await using world = await openPageServerWorld()
    const pageServer = await start(world)
    await expect(pageServer.record({ writes: true })).rejects.toMatchObject({ code: 'RECORDER_UNRELIABLE' })
    await world.attach()
    await pageServer.prefetched({ wait: true })
    expect(await pageServer.record({ writes: true })).toEqual({ fromTheFirst: false })
    const some = wanted.slice(0, 100)
    await world.vmm.order({ op: 'write', pages: some.map(memoryPageOf), word: 7 })
    expect((await pageServer.recorded()).written).toEqual(pageSetFromPages(some))
    await using plain = await openPageServerWorld()
    await plain.start()
    const [answer] = await ask(plain.config.controlPath, '{"op":"prefetched"}\n', 1)
    expect(answer).toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})

describe('a handshake that cannot be served ends that VM, with the reason', () => {
  type Send = { parts: string[]; descriptors: string[]; end?: boolean; blocking?: boolean }
  const region = (address: number, page: number, imagePage: number, pages: number) => ({
    base_host_virt_addr: address + page * pageBytes,
    size: pages * pageBytes,
    offset: imagePage * pageBytes,
    page_size: pageBytes,
  })
  const one = (text: string): Send => ({ parts: [text], descriptors: ['uffd'] })
  const cases: [string, (address: number) => Send, string][] = [
    ['garbage', () => one('GET / HTTP/1.1\r\n\r\n'), 'does not begin with "["'],
    ['broken JSON', () => one('[{"size":}]'), 'is not JSON'],
    ['half of it', () => ({ ...one('[{"base'), end: true }), 'end of file within the handshake'],
    [
      'too much',
      () => ({ parts: Array(129).fill(`[${' '.repeat(65_535)}`), descriptors: ['uffd'] }),
      'exceeds',
    ],
    [
      'two descriptors',
      (at) => ({ parts: [handshakeText(at)], descriptors: ['uffd', '/dev/zero'] }),
      '2 desc',
    ],
    ['no descriptor', (at) => ({ parts: [handshakeText(at)], descriptors: [] }), 'without a descriptor'],
    [
      '16 descriptors',
      (at) => ({ parts: [handshakeText(at)], descriptors: Array(16).fill('uffd') }),
      '16 desc',
    ],
    [
      'another file',
      (at) => ({ parts: [handshakeText(at)], descriptors: ['/dev/zero'] }),
      'with a /dev/zero',
    ],
    [
      'overlapping addresses',
      (at) => one(JSON.stringify([region(at, 0, 0, 10), region(at, 9, 20, 10)])),
      'overlapping',
    ],
    [
      'overlapping pages',
      (at) => one(JSON.stringify([region(at, 0, 0, 10), region(at, 50, 9, 10)])),
      'overlapping',
    ],
    ['more than the image', (at) => one(JSON.stringify([region(at, 0, 0, 3001)])), 'the image at 3000'],
    [
      'an offset beyond the image',
      (at) => one(JSON.stringify([region(at, 0, 9000, 1)])),
      'the image at 3000',
    ],
    ['a blocking userfaultfd', (at) => ({ ...one(handshakeText(at)), blocking: true }), 'cannot be polled'],
  ]
  test.each(cases)('%s', async (_name, message, reason) => {
    await using world = await openPageServerWorld()
    const processes = await world.start()
    const { blocking } = message(0)
    const { address } = await world.vmm.order<{ address: number }>({
      op: 'memory',
      pages: memoryPages,
      blocking,
    })
    const path = world.config.socketPath
    // The server may be gone, and the VM with it, before all is said.
    world.vmm.order({ op: 'send', path, ...message(address) }).catch(() => {})
    await expectRefusal(world, processes, reason)
  })

  test('another process', async () => {
    await using world = await openPageServerWorld()
    const processes = await world.start()
    const socket = connect(world.config.socketPath)
    socket.on('error', () => {})
    const reason = `process ${process.pid} connected, not the VMM ${world.vmm.identity.pid}`
    await expectRefusal(world, processes, reason)
    socket.destroy()
  })

  test('a fault outside every region', async () => {
    await using world = await openPageServerWorld()
    const processes = await world.start()
    await world.attach()
    world.vmm.order({ op: 'words', pages: [1850] }).catch(() => {})
    await expectRefusal(world, processes, 'outside every region')
  })

  test('a layer that shrinks later: the first page that is gone ends it', async () => {
    await using world = await openPageServerWorld()
    const processes = await world.start()
    await world.attach()
    for (const { path } of world.config.layers) writeFileSync(path, '')
    world.vmm.order({ op: 'words', pages: allPages.map(memoryPageOf) }).catch(() => {})
    await expectRefusal(world, processes, 'UFFDIO_COPY failed with EFAULT')
  })
})

describe('a VM that cannot be served from the start is an error of the order, and nothing is left of it', () => {
  test('a layer shorter than its pages', async () => {
    await using world = await openPageServerWorld()
    writeFileSync(world.config.layers[1]?.path as string, Buffer.alloc(pageBytes))
    await expect(world.start()).rejects.toMatchObject({
      code: 'IMAGE_MISMATCH',
      message: expect.stringContaining(`has ${pageBytes} bytes, ${3000 * pageBytes} are needed`),
    })
  })

  test('a layer that is missing, a configuration that is none, a VMM that has ended', async () => {
    await using world = await openPageServerWorld()
    const layers = world.config.layers.map((layer) => ({ ...layer, path: `${layer.path}-missing` }))
    const missing = startPageServer({ ...optionsOf(world), layers })
    await expect(missing).rejects.toThrow('ENOENT')
    await expect(orderService(world.runtime, '/dev/null')).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
    await using dead = await openPageServerWorld()
    dead.vmm.child.kill('SIGKILL')
    await dead.vmmEnded
    await expect(dead.start()).rejects.toMatchObject({ code: 'MACHINE_EXITED' })
    expect(readdirSync(pageServerRoot(world.runtime).vms)).toEqual([])
  })
})

describe('the control socket', () => {
  test('answers each line, also lines that make no sense, in one packet', async () => {
    await using world = await openPageServerWorld()
    await world.start()
    const nonsense = ['nonsense', '7', 'null', '[]', '{"op":{}}']
    const refused = ['{"op":"record"}', '{"op":"recorded","next":"x"}', '{"op":"recorded","next":"stop"}']
    const lines = [...nonsense, ...refused, '{"op":"record","writes":true}']
    expect(
      await ask(world.config.controlPath, lines.map((line) => `${line}\n`).join(''), lines.length),
    ).toEqual([
      { error: 'not JSON' },
      { error: 'no operation undefined' },
      { error: 'no operation undefined' },
      { error: 'no operation undefined' },
      { error: 'no operation {}' },
      { error: 'writes is not true or false' },
      { error: 'next is not go-on, again, stop' },
      { error: 'nothing is recorded', code: 'RECORDER_UNRELIABLE' },
      { fromTheFirst: true },
    ])
    const many = '{"op":"stats"}\n'.repeat(1000)
    expect(await ask(world.config.controlPath, many, 1000)).toHaveLength(1000)
  })

  test.each(['finished', 'unfinished'])(
    'a %s line that is too long ends the connection, not the server',
    async (kind) => {
      await using world = await openPageServerWorld()
      const processes = await world.start()
      const line = 'x'.repeat(8193) + (kind === 'finished' ? '\n' : '')
      expect(await ask(world.config.controlPath, line, 1)).toEqual([])
      expect(await ask(world.config.controlPath, '{"op":"processes"}\n', 1)).toEqual([processes])
    },
  )

  test('"stop" leaves the VM alone, which is killed', async () => {
    await using world = await openPageServerWorld()
    const processes = await world.start()
    await world.attach()
    expect(await words(world, [1])).toEqual([wordOfPage(1)])
    expect(await ask(world.config.controlPath, '{"op":"stop"}\n', 1)).toEqual([{}])
    await expectRefusal(world, processes, 'its owner had the page server stop')
  })
})

describe('one server for many VMs', () => {
  test('serves them at the same time, each from its own image; one that fails, or ends, hurts no other', async () => {
    const worlds = await Promise.all(allPages.slice(0, 6).map(() => openPageServerWorld()))
    try {
      const processes = await Promise.all(worlds.map((world) => world.start()))
      expect(new Set(processes.map(({ server }) => server.pid)).size).toBe(1)
      const [first, second, ...others] = worlds as [PageServerWorld, PageServerWorld, ...PageServerWorld[]]
      await Promise.all(worlds.map((world) => world.attach()))
      const read = Promise.all(others.map((world) => words(world, shuffled(allPages))))
      first.vmm.order({ op: 'words', pages: [1850] }).catch(() => {})
      second.vmm.child.kill('SIGKILL')
      for (const found of await read) expect(found).toEqual(shuffled(allPages).map(wordOfPage))
      await expectRefusal(first, processes[0] as ServingProcesses, 'outside every region')
      expect(second.death()).toBeUndefined()
      expect(second.log()).toBe('')
      // Counters are each VM's own.
      for (const { config } of others) {
        const [stats] = (await ask(config.controlPath, '{"op":"stats"}\n', 1)) as [Record<string, number>]
        expect(stats.copiedPages).toBe(allPages.filter((page) => !isZeroPage(page)).length)
      }
    } finally {
      for (const world of worlds) await world[Symbol.asyncDispose]()
    }
  })

  test('leaves nothing of a VM that has ended: no socket, no descriptor, no mapping, no entry', async () => {
    await using world = await openPageServerWorld({}, { runtime: ownRuntime })
    const { server } = await world.start()
    // Threads, which come and go, have descriptors of their own of other kinds.
    const held = () =>
      openDescriptors(server.pid).filter(({ target }) => /userfaultfd|pidfd|socket|layer-/.test(target))
        .length
    const mapped = () =>
      readFileSync(`/proc/${server.pid}/maps`, 'utf8')
        .split('\n')
        .filter((line) => line.includes('layer-')).length
    const before = { held: held(), mapped: mapped() }
    for (const when of ['before it connected', 'while it was served']) {
      await using other = await openPageServerWorld({}, { runtime: world.runtime })
      await other.start()
      if (when === 'while it was served') {
        await other.attach()
        expect(await words(other, [1])).toEqual([wordOfPage(1)])
        expect(mapped()).toBeGreaterThan(before.mapped)
      }
      other.vmm.child.kill('SIGKILL')
      await eventually(() => readdirSync(pageServerRoot(world.runtime).vms).length === 1)
      expect([other.death(), other.log()]).toEqual([undefined, ''])
      expect(existsSync(other.config.controlPath) || existsSync(other.config.socketPath)).toBe(false)
    }
    // A connection that was just closed may have been among them.
    await eventually(() => held() <= before.held && mapped() === before.mapped)
  })

  test('orders that make no sense are answered; the server lives on', async () => {
    await using world = await openPageServerWorld()
    const { server } = await world.start()
    const lines = [
      'x',
      '7',
      '{"op":"serve"}',
      '{"op":"guard","pid":"x"}',
      '{"op":"no"}',
      '{"op":"processes"}',
    ]
    const { control } = pageServerRoot(world.runtime)
    expect(await ask(control, lines.map((line) => `${line}\n`).join(''), lines.length)).toEqual([
      { error: 'not JSON' },
      { error: 'no operation undefined' },
      { error: 'config is not a path' },
      { error: 'not a process' },
      { error: 'no operation "no"' },
      expect.objectContaining({ server }),
    ])
  })

  test('ends, and its guard, when it has had no VM for a while, or when its directory has gone', async () => {
    process.env.VARVE_PAGE_SERVER_LINGER_MS = '300'
    try {
      for (const removed of [false, true]) {
        const runtime = mkdtempSync(join(tmpdir(), 'varve-pages-linger-'))
        const { server, guard } = await ensurePageServer(runtime)
        if (removed) rmSync(runtime, { recursive: true })
        await eventually(() => !isAlive(server) && !isAlive(guard as ProcessIdentity))
        if (!removed) rmSync(runtime, { recursive: true })
      }
    } finally {
      delete process.env.VARVE_PAGE_SERVER_LINGER_MS
    }
  })

  test('is started once, however many ask for it at the same time', async () => {
    const runtime = mkdtempSync(join(tmpdir(), 'varve-pages-start-'))
    const found = await Promise.all(Array.from({ length: 8 }, () => ensurePageServer(runtime)))
    expect(new Set(found.map(({ server }) => server.pid)).size).toBe(1)
    rmSync(runtime, { recursive: true })
    await eventually(() => !isAlive((found[0] as ServingProcesses).server))
  })
})

describe('startPageServer', () => {
  test('gives counters and a recording; a call can be aborted; a server that is gone is a named error', async () => {
    await using world = await openPageServerWorld()
    const pageServer = await startPageServer(optionsOf(world))
    await world.attach()
    const pages = shuffled(allPages.filter((page) => !isZeroPage(page))).slice(0, 50)
    await pageServer.record({ writes: false })
    await words(world, pages)
    const { pages: found, truncated, touched, written, timesUs, windowMs } = await pageServer.recorded()
    expect([...found]).toEqual(pages)
    expect(touched).toEqual(pageSetFromPages(pages))
    expect({ truncated, written }).toEqual({ truncated: false, written: null })
    expect([...timesUs]).toEqual([...timesUs].sort((a, b) => a - b))
    expect((timesUs.at(-1) as number) / 1000).toBeLessThanOrEqual(windowMs)
    expect((await pageServer.stats()).copiedPages).toBe(50)
    await expect(pageServer.stats({ signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'INTERRUPTED',
    })
    world.vmm.child.kill('SIGKILL')
    await eventually(() => !existsSync(world.config.controlPath))
    await expect(pageServer.stats()).rejects.toMatchObject({ code: 'PAGE_SERVER_PROTOCOL' })
    expect(world.death()).toBeUndefined()
  })

  test('a start that is aborted leaves neither server nor guard', async () => {
    const runtime = mkdtempSync(join(tmpdir(), 'varve-pages-abort-'))
    const abort = new AbortController()
    const start = ensurePageServer(runtime, { signal: abort.signal })
    const told = expect(start).rejects.toMatchObject({ code: 'INTERRUPTED' })
    await eventually(() => processesNaming(runtime).length > 0)
    abort.abort()
    await told
    await eventually(() => processesNaming(runtime).length === 0)
    rmSync(runtime, { recursive: true })
  })
})

describe('files of a page server', () => {
  test('a second start for the same VM is a named error, and the first serves on', async () => {
    await using world = await openPageServerWorld()
    const first = await startPageServer(optionsOf(world))
    await expect(startPageServer(optionsOf(world))).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    await world.attach()
    expect(await words(world, [1])).toEqual([wordOfPage(1)])
    expect((await first.stats()).faults).toBe(1)
  })

  test('sockets are the owner’s alone, and given to the VMM’s user', async () => {
    await using world = await openPageServerWorld({ socketOwner: { uid: 4711, gid: 4712 } })
    await world.start()
    const { uid, gid, mode } = lstatSync(world.config.socketPath)
    expect({ uid, gid, mode: mode & 0o777 }).toEqual({ uid: 4711, gid: 4712, mode: 0o600 })
    expect(lstatSync(world.config.controlPath).mode & 0o777).toBe(0o600)
    expect(lstatSync(pageServerRoot(world.runtime).control).mode & 0o777).toBe(0o600)
  })
})

/** Processes with the directory in their command line. */
function processesNaming(directory: string): string[] {
  return readdirSync('/proc').filter((name) => {
    if (!/^\d+$/.test(name)) return false
    try {
      return readFileSync(`/proc/${name}/cmdline`, 'utf8').includes(directory)
    } catch {
      return false
    }
  })
}
