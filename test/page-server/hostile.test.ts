import { once } from 'node:events'
import { existsSync, mkdirSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { isAlive, openDescriptors, pageServerRoot } from 'varve/testing'
import { expect, test } from 'vitest'
import {
  allPages,
  ask,
  eventually,
  handshakeText,
  memoryPageOf,
  memoryPages,
  openPageServerWorld,
  ownRuntime,
  type PageServerWorld,
  pageBytes,
  shuffled,
  wordOfPage,
  words,
} from '../support/page-server-world.js'

/** Descriptors that peers can make a server hold; threads have others of their own. */
const held = (pid: number) =>
  openDescriptors(pid).filter(({ target }) => /userfaultfd|pidfd|socket|zero/.test(target)).length

/** A VM that is served all the while, whatever becomes of others. */
async function openBystander(): Promise<PageServerWorld> {
  const world = await openPageServerWorld({}, { runtime: ownRuntime })
  await world.start()
  await world.attach()
  return world
}

/** Many connections, as many at once as the kernel takes; what becomes of each is its own affair. */
async function connectOften(path: string, times: number, text = ''): Promise<void> {
  const open = new Set<Socket>()
  for (let count = 0; count < times; count++) {
    const socket = connect(path)
    open.add(socket)
    socket.on('error', () => {})
    socket.once('close', () => open.delete(socket))
    if (text !== '') socket.write(text)
    if (count % 100 === 99) await new Promise((resolve) => setImmediate(resolve))
    // Below any limit of this process.
    if (open.size > 500) for (const each of [...open].slice(0, 250)) each.destroy()
  }
  for (const socket of open) socket.destroy()
}

test('handshakes that cannot be served, one after the other, leave no descriptor behind', async () => {
  await using bystander = await openBystander()
  const { server } = await processes(bystander)
  const before = held(server.pid)
  const many = (address: number) =>
    JSON.stringify(
      Array.from({ length: 66_000 }, (_, index) => ({
        base_host_virt_addr: address + index * pageBytes,
        size: pageBytes,
        offset: 0,
        page_size: pageBytes,
      })),
    )
  const cases: { parts: (address: number) => string[]; descriptors: string[]; end?: boolean }[] = [
    { parts: () => ['garbage'], descriptors: ['uffd'] },
    { parts: () => ['[{"base'], descriptors: ['uffd'], end: true },
    { parts: () => ['[{"base', '_host'], descriptors: ['uffd', '/dev/zero'] },
    { parts: (address) => [handshakeText(address)], descriptors: ['/dev/zero'] },
    { parts: (address) => many(address).match(/.{1,60000}/g) ?? [], descriptors: ['uffd'] },
  ]
  for (const { parts, descriptors, end } of cases) {
    await using world = await openPageServerWorld({}, { runtime: bystander.runtime })
    await world.start()
    const { address } = await world.vmm.order<{ address: number }>({ op: 'memory', pages: memoryPages })
    const path = world.config.socketPath
    world.vmm.order({ op: 'send', path, parts: parts(address), descriptors, end }).catch(() => {})
    expect(await world.vmmEnded).toEqual({ code: null, signal: 'SIGKILL' })
    expect(world.death()?.reason).toBe('page-server-died')
  }
  await eventually(() => held(server.pid) <= before)
  expect(await words(bystander, shuffled(allPages))).toEqual(shuffled(allPages).map(wordOfPage))
})

test('a directory in place of a VM’s socket, as a jailed VMM can make it, is no trouble for other VMs', async () => {
  await using bystander = await openBystander()
  const { server } = await processes(bystander)
  const before = held(server.pid)
  await using world = await openPageServerWorld({}, { runtime: bystander.runtime })
  await world.start()
  await world.attach()
  await eventually(() => !existsSync(world.config.socketPath))
  mkdirSync(world.config.socketPath)
  world.vmm.child.kill('SIGKILL')
  await world.vmmEnded
  await eventually(() => held(server.pid) <= before)
  expect((await processes(bystander)).server).toEqual(server)
  expect(await words(bystander, shuffled(allPages))).toEqual(shuffled(allPages).map(wordOfPage))
})

test('as many regions as the image has pages are served', async () => {
  await using world = await openPageServerWorld()
  await world.start()
  const { address } = await world.vmm.order<{ address: number }>({ op: 'memory', pages: memoryPages })
  const regions = allPages.map((page) => ({
    base_host_virt_addr: address + memoryPageOf(page) * pageBytes,
    size: pageBytes,
    offset: page * pageBytes,
    page_size: pageBytes,
  }))
  const parts = JSON.stringify(shuffled(regions)).match(/.{1,60000}/g)
  await world.vmm.order({ op: 'send', path: world.config.socketPath, parts, descriptors: ['uffd'] })
  expect(await words(world, shuffled(allPages))).toEqual(shuffled(allPages).map(wordOfPage))
})

test('ten thousand connections by a stranger cost the VM whose socket it was, and nobody else anything', async () => {
  await using bystander = await openBystander()
  const { server } = await processes(bystander)
  const before = held(server.pid)
  await using victim = await openPageServerWorld({}, { runtime: bystander.runtime })
  await victim.start()
  const reading = words(bystander, shuffled(allPages))
  await connectOften(victim.config.socketPath, 10_000)
  expect(await victim.vmmEnded).toEqual({ code: null, signal: 'SIGKILL' })
  expect(victim.death()?.detail).toContain('not the VMM')
  expect(await reading).toEqual(shuffled(allPages).map(wordOfPage))
  await eventually(() => held(server.pid) <= before)
})

test('ten thousand connections to where orders and questions go, silent or not, are borne', async () => {
  await using bystander = await openBystander()
  const { server } = await processes(bystander)
  const before = held(server.pid)
  const { control } = pageServerRoot(bystander.runtime)
  for (const path of [control, bystander.config.controlPath])
    for (const text of ['', '{"op":"serve","config":"/dev/null"}\n', 'x'.repeat(10_000)])
      await connectOften(path, 1700, text)
  // Silent ones that stay are limited in number, and go when they go.
  const silent = Array.from({ length: 200 }, () => connect(control).on('error', () => {}))
  await Promise.race(silent.map((socket) => once(socket, 'close')))
  expect(held(server.pid)).toBeLessThan(before + 100)
  for (const socket of silent) socket.destroy()
  await eventually(() => held(server.pid) <= before)
  await using next = await openPageServerWorld({}, { runtime: bystander.runtime })
  await next.start()
  await next.attach()
  expect(await words(next, allPages)).toEqual(allPages.map(wordOfPage))
  expect(isAlive(server)).toBe(true)
})

async function processes(
  world: PageServerWorld,
): Promise<{ readonly server: { pid: number; startTime: number } }> {
  const [answer] = await ask(world.config.controlPath, '{"op":"processes"}\n', 1)
  return answer as never
}
