import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { handOverPageServer, type ProcessIdentity, type ServingProcesses } from 'varve'
import {
  ensurePageServer,
  isAlive,
  type PageServerClient,
  pageServerRoot,
  startPageServer,
} from 'varve/testing'
import { pageSetFromPages } from 'varve/working-sets'
import { describe, expect, test } from 'vitest'
import {
  allPages,
  eventually,
  memoryPageOf,
  openPageServerWorld,
  optionsOf,
  ownRuntime,
  type PageServerWorld,
  shuffled,
  wordOfPage,
  words,
} from '../support/page-server-world.js'

const openWorld = () => openPageServerWorld({}, { runtime: ownRuntime })
const kill = ({ pid }: ProcessIdentity) => process.kill(pid, 'SIGKILL')

/** The processes that serve now, once there is a guard again. */
async function guarded(pageServer: PageServerClient, notBy: ProcessIdentity) {
  let found = await pageServer.processes()
  await eventually(async () => {
    found = await pageServer.processes()
    return found.server.pid !== notBy.pid && found.guard !== null && isAlive(found.guard)
  })
  return found as { readonly server: ProcessIdentity; readonly guard: ProcessIdentity }
}

/** Its memory is handed over, and that has been noted. */
async function attached(world: PageServerWorld): Promise<void> {
  await world.attach()
  expect(await words(world, [1])).toEqual([wordOfPage(1)])
}

describe('when the server is killed, its guard takes over', () => {
  test('again and again, under a VM that touches everything: each page is right', async () => {
    await using world = await openWorld()
    const pageServer = await startPageServer(optionsOf(world))
    await world.attach()
    let { server } = await pageServer.processes()
    const order = shuffled(allPages)
    for (let part = 0; part < 3; part++) {
      const read = words(world, order.slice(part * 1000, (part + 1) * 1000))
      await eventually(async () => (await pageServer.stats()).faults > 20)
      kill(server)
      expect(await read).toEqual(order.slice(part * 1000, (part + 1) * 1000).map(wordOfPage))
      server = (await guarded(pageServer, server)).server
    }
    expect(await words(world, allPages)).toEqual(allPages.map(wordOfPage))
    expect([world.death(), world.log()]).toEqual([undefined, ''])
    world.vmm.child.kill('SIGKILL')
    await eventually(() => readdirSync(pageServerRoot(world.runtime).vms).length === 0)
  })

  test('what the guest gave back stays zero, and is remembered by the one after next, too', async () => {
    await using world = await openWorld()
    const pageServer = await startPageServer(optionsOf(world))
    await world.attach()
    const removed = new Set<number>()
    const remove = async (from: number) => {
      const first = allPages.filter((page) => page % 100 === from)
      for (const page of first) removed.add(page).add(page + 1)
      await world.vmm.order({ op: 'remove', runs: first.map((page) => [memoryPageOf(page), 2]) })
    }
    let { server } = await pageServer.processes()
    for (const from of [7, 50]) {
      await remove(from)
      // Noted: a server that dies before that leaves a VM that no process can take over.
      await eventually(() => existsSync(world.files.removed) && readFileSync(world.files.removed)[0] === 0)
      kill(server)
      server = (await guarded(pageServer, server)).server
    }
    const expected = allPages.map((page) => (removed.has(page) ? 0 : wordOfPage(page)))
    expect(await words(world, allPages)).toEqual(expected)
  })

  test('a recording that was on says that it is lost before another server answers; one that begins then waits', async () => {
    await using world = await openWorld()
    const pageServer = await startPageServer(optionsOf(world))
    await attached(world)
    const { server, guard } = await guarded(pageServer, world.vmm.identity)
    await pageServer.record({ writes: false })
    kill(guard)
    kill(server)
    await expect(pageServer.recorded()).rejects.toMatchObject({
      code: 'RECORDER_UNRELIABLE',
      message: expect.stringContaining('lost'),
    })
    const begun = pageServer.record({ writes: false })
    await ensurePageServer(world.runtime)
    expect(await begun).toEqual({ fromTheFirst: false })
    expect(await words(world, [7])).toEqual([wordOfPage(7)])
    expect((await pageServer.recorded({ next: 'stop' })).touched).toEqual(pageSetFromPages([7]))
  })

  test('a recording is lost and says so; nothing stays protected; the next one is right', async () => {
    await using world = await openWorld()
    const pageServer = await startPageServer(optionsOf(world))
    await world.attach()
    await words(world, allPages.slice(0, 1500))
    await pageServer.record({ writes: true })
    const { server } = await pageServer.processes()
    kill(server)
    const pages = shuffled(allPages).slice(0, 1000)
    await world.vmm.order({ op: 'write', pages: pages.map(memoryPageOf), word: 7 })
    await guarded(pageServer, server)
    await expect(pageServer.recorded()).rejects.toMatchObject({
      code: 'RECORDER_UNRELIABLE',
      message: expect.stringContaining('lost'),
    })
    await pageServer.record({ writes: true })
    const some = pages.slice(0, 50)
    await world.vmm.order({ op: 'write', pages: some.map(memoryPageOf), word: 8 })
    expect((await pageServer.recorded({ next: 'stop' })).written).toEqual(pageSetFromPages(some))
  })

  test('a VM that had not handed over its memory yet does so to the next', async () => {
    await using world = await openWorld()
    const pageServer = await startPageServer(optionsOf(world))
    const { server } = await pageServer.processes()
    kill(server)
    await guarded(pageServer, server)
    await world.attach()
    expect(await words(world, allPages)).toEqual(allPages.map(wordOfPage))
  })

  test('also where it just started', async () => {
    await using world = await openWorld()
    const pageServer = await startPageServer(optionsOf(world))
    const { server } = await pageServer.processes()
    await attached(world)
    kill(server)
    const second = await guarded(pageServer, server)
    kill(second.server)
    expect(await words(world, allPages)).toEqual(allPages.map(wordOfPage))
  })

  test('where both are killed, whoever is started next does', async () => {
    await using world = await openWorld()
    const pageServer = await startPageServer(optionsOf(world))
    await world.attach()
    const { server, guard } = await pageServer.processes()
    for (const one of [guard as ProcessIdentity, server]) kill(one)
    const read = words(world, allPages)
    await eventually(() => !isAlive(server))
    await ensurePageServer(world.runtime)
    expect(await read).toEqual(allPages.map(wordOfPage))
  })

  test('SIGINT does nothing to a guard; one that dies is replaced, and the next one does its duty', async () => {
    await using world = await openWorld()
    const pageServer = await startPageServer(optionsOf(world))
    await world.attach()
    const { server, guard } = (await pageServer.processes()) as Record<'server' | 'guard', ProcessIdentity>
    process.kill(guard.pid, 'SIGINT')
    expect(await words(world, allPages.slice(0, 100))).toEqual(allPages.slice(0, 100).map(wordOfPage))
    expect(isAlive(guard)).toBe(true)
    kill(guard)
    let next = guard
    await eventually(async () => {
      next = (await pageServer.processes()).guard ?? guard
      return next.pid !== guard.pid
    })
    kill(server)
    expect(await words(world, allPages)).toEqual(allPages.map(wordOfPage))
    expect((await pageServer.processes()).server).toEqual(next)
  })
})

describe('when the server is to hand over to another', () => {
  test('the VMs go on, under load, and are taken over again where that one is killed', async () => {
    await using world = await openWorld()
    await using other = await openPageServerWorld({}, { runtime: world.runtime })
    const servers = [await startPageServer(optionsOf(world)), await startPageServer(optionsOf(other))]
    await attached(world)
    const before = (await servers[0]?.processes()) as ServingProcesses
    const order = shuffled(allPages)
    const read = words(world, order)
    const after = await handOverPageServer(world.runtime)
    expect(await read).toEqual(order.map(wordOfPage))
    expect(after.server.pid).not.toBe(before.server.pid)
    await eventually(() => !isAlive(before.server) && !isAlive(before.guard as ProcessIdentity))
    for (const server of servers) expect(await server.processes()).toEqual(after)
    // One that had not handed over its memory yet.
    await other.attach()
    expect(await words(other, order.slice(0, 1000))).toEqual(order.slice(0, 1000).map(wordOfPage))
    kill(after.server)
    expect(await words(other, order)).toEqual(order.map(wordOfPage))
    expect([world.death(), other.death()]).toEqual([undefined, undefined])
  })

  test('a recording that is on keeps it from that, and goes on', async () => {
    await using world = await openWorld()
    const pageServer = await startPageServer(optionsOf(world))
    await attached(world)
    await pageServer.record({ writes: false })
    await expect(handOverPageServer(world.runtime)).rejects.toMatchObject({ code: 'RECORDER_UNRELIABLE' })
    const pages = allPages.filter((page) => wordOfPage(page) !== 0).slice(100, 150)
    await words(world, pages)
    const { touched } = await pageServer.recorded({ next: 'stop' })
    expect(touched).toEqual(pageSetFromPages(pages))
    const { server } = await handOverPageServer(world.runtime)
    expect((await pageServer.processes()).server).toEqual(server)
    expect(await words(world, allPages)).toEqual(allPages.map(wordOfPage))
  })
})

describe('where nobody can take over, the VM is killed, with the reason', () => {
  const cases: [string, (world: PageServerWorld) => unknown, string][] = [
    ['its regions are not known', ({ files }) => rmSync(files.state), 'its handshake is not known'],
    ['its configuration cannot be read', ({ files }) => writeFileSync(files.config, '{'), 'configuration'],
    [
      'the guest was giving memory back in that moment',
      ({ files }) => writeFileSync(files.removed, Buffer.from([1, 0, 0, 0, 0, 0, 0, 0])),
      'the guest was giving memory back',
    ],
    ['its state makes no sense', ({ files }) => writeFileSync(files.state, '{"version":7}'), 'version 7'],
    ['a layer has gone', ({ config }) => rmSync(config.layers[0]?.path as string), 'ENOENT'],
    ['it has two of them', ({ vmm }) => vmm.order({ op: 'secondUserfaultfd' }), '2 userfaultfds'],
  ]
  test(`${cases.map(([name]) => name).join('; ')}; and nobody else is`, async () => {
    await using first = await openWorld()
    const worlds = [first]
    try {
      for (let count = 0; count < cases.length; count++)
        worlds.push(await openPageServerWorld({}, { runtime: first.runtime }))
      const { server } = await first.start()
      for (const world of worlds.slice(1)) await world.start()
      for (const world of worlds) await attached(world)
      for (const [index, [, damage]] of cases.entries()) await damage(worlds[index + 1] as PageServerWorld)
      kill(server)
      for (const [index, [, , reason]] of cases.entries()) {
        const world = worlds[index + 1] as PageServerWorld
        expect(await world.vmmEnded).toEqual({ code: null, signal: 'SIGKILL' })
        expect(world.death()?.reason).toBe('page-server-died')
        expect(world.death()?.detail).toContain(reason)
      }
      expect(await words(first, allPages)).toEqual(allPages.map(wordOfPage))
      expect(first.death()).toBeUndefined()
    } finally {
      for (const world of worlds.slice(1)) await world[Symbol.asyncDispose]()
    }
  })

  test('no right to look into the VMM (ptrace)', async () => {
    await using world = await openWorld()
    const script = `import('varve/testing').then((it) => it.ensurePageServer(process.argv[1])).then(() => process.exit())`
    const without = ['--bounding-set=-sys_ptrace', '--inh-caps=-sys_ptrace']
    const node = [process.execPath, '-e', script, world.runtime]
    expect(spawnSync('setpriv', [...without, ...node], { stdio: 'inherit' }).status).toBe(0)
    const { server } = await world.start()
    await world.attach()
    expect(await words(world, [1])).toEqual([wordOfPage(1)])
    kill(server)
    expect(await world.vmmEnded).toEqual({ code: null, signal: 'SIGKILL' })
    expect(world.death()?.detail).toMatch(/EACCES|EPERM/)
  })

  test('servers die one after the other', async () => {
    await using world = await openWorld()
    const { server } = await world.start()
    await attached(world)
    const { deaths } = pageServerRoot(world.runtime)
    writeFileSync(deaths, JSON.stringify(Array.from({ length: 11 }, () => Date.now())))
    kill(server)
    expect(await world.vmmEnded).toEqual({ code: null, signal: 'SIGKILL' })
    expect(world.death()?.detail).toContain('one after the other')
  })
})
