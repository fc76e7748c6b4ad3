import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { ensurePageServer } from '../packages/core/dist/restore/page-server/ensure-page-server.js'
import { isAlive, openDescriptors, type ProcessIdentity } from '../packages/core/dist/sys/proc.js'
import {
  allPages,
  eventually,
  openPageServerWorld,
  ownRuntime,
  shuffled,
  wordOfPage,
  words,
} from './support/page-server-world.js'

const userfaultfds = ({ pid }: ProcessIdentity) =>
  openDescriptors(pid).filter(({ target }) => target.includes('userfaultfd')).length

/** Of all its threads, in ms: utime and stime of proc(5), in ticks of 10 ms. */
function cpuMs({ pid }: ProcessIdentity): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) * 10
}

async function withServer(
  work: (runtime: string, server: ProcessIdentity, guard: ProcessIdentity) => Promise<void>,
): Promise<void> {
  const runtime = mkdtempSync(join(tmpdir(), 'varve-pages-warm-'))
  try {
    const { server, guard } = await ensurePageServer(runtime)
    await work(runtime, server, guard as ProcessIdentity)
  } finally {
    rmSync(runtime, { recursive: true, force: true })
  }
}

test('server and guard warm up while they stand, and leave nothing of it', () =>
  withServer(async (_runtime, server, guard) => {
    const threads = () => readdirSync(`/proc/${server.pid}/task`).length
    for (const it of [server, guard]) await eventually(() => userfaultfds(it) === 1)
    const during = threads()
    for (const it of [server, guard]) await eventually(() => userfaultfds(it) === 0)
    // The thread that fetches sets is started meanwhile, for another reason.
    expect(threads()).toBeLessThanOrEqual(during + 1)
  }))

test('an order ends it at once, and the VM is served as ever; it goes on when no VM is left', () =>
  withServer(async (runtime, server) => {
    await eventually(() => userfaultfds(server) === 1)
    {
      await using world = await openPageServerWorld({}, { runtime })
      await world.start()
      await world.attach()
      const order = shuffled(allPages)
      expect(await words(world, order)).toEqual(order.map(wordOfPage))
      // The VM's alone.
      expect(userfaultfds(server)).toBe(1)
      await sleep(300)
      expect(userfaultfds(server)).toBe(1)
      world.vmm.child.kill('SIGKILL')
      await world.vmmEnded
    }
    let seen = false
    await eventually(() => {
      seen ||= userfaultfds(server) === 1
      return seen && userfaultfds(server) === 0
    })
  }))

test('a server that ends while it warms up ends at once', () =>
  withServer(async (runtime, server, guard) => {
    await eventually(() => userfaultfds(server) === 1)
    rmSync(runtime, { recursive: true })
    await eventually(() => !isAlive(server) && !isAlive(guard))
  }))

test('a server whose VMs ask for nothing uses no CPU, also directly after they asked for much', async () => {
  await using world = await openPageServerWorld({}, { runtime: ownRuntime })
  const { server } = await world.start()
  await world.attach()
  const order = shuffled(allPages)
  expect(await words(world, order)).toEqual(order.map(wordOfPage))
  // What V8 compiles of what was just run, and the thread that fetches sets, are ready by then.
  await sleep(2000)
  const before = cpuMs(server)
  await sleep(1000)
  expect(cpuMs(server) - before).toBeLessThanOrEqual(50)
})
