import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { handOverPageServer, type ProcessIdentity } from 'varve'
import { ensurePageServer, isAlive, orderService, pageServerRoot, startPageServer } from 'varve/testing'
import { describe, expect, test } from 'vitest'
import {
  allPages,
  ask,
  eventually,
  openPageServerWorld,
  optionsOf,
  ownRuntime,
  shuffled,
  wordOfPage,
  words,
} from '../support/page-server-world.js'

/** The process that the server left its VMs to, as soon as it is named. */
async function namedSuccessor(path: string): Promise<ProcessIdentity> {
  for (;;) {
    try {
      return JSON.parse(readFileSync(path, 'utf8')) as ProcessIdentity
    } catch {
      await sleep(1)
    }
  }
}

function guardsOf(server: ProcessIdentity): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        const [, script, order] = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')
        return script?.endsWith('guard-main.js') && JSON.parse(order as string).server.pid === server.pid
      } catch {
        return false
      }
    })
    .map(Number)
}

/** Page servers and guards. */
const processesOf = (runtime: string): number[] =>
  readdirSync('/proc')
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes(`"runtime":"${runtime}"`)
      } catch {
        return false
      }
    })
    .map(Number)

const kill = (pid: number) => {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It has ended.
  }
}

describe('when the new server dies after the old one has left', () => {
  const step = Number(process.env.VARVE_HAND_OVER_STEP_MS ?? 5)
  const rounds = Number(process.env.VARVE_HAND_OVER_ROUNDS ?? 1)
  const delays = Array.from({ length: Math.floor(30 / step) + 1 }, (_, index) => index * step)

  test.each(['the new server', 'the new server and its guard'])(
    `the VMs go on: %s killed ${delays[0]} to ${delays.at(-1)} ms after it, every ${step}`,
    async (who) => {
      const order = shuffled(allPages)
      let alone = 0
      for (let round = 0; round < rounds; round++)
        for (const delay of delays) {
          await using world = await openPageServerWorld({}, { runtime: ownRuntime })
          const pageServer = await startPageServer(optionsOf(world))
          await world.attach()
          const { guard: firstGuard } = await pageServer.processes()
          const { successor } = pageServerRoot(world.runtime)
          const handing = handOverPageServer(world.runtime).catch((error: Error) => error)
          const next = await namedSuccessor(successor)
          const reading = words(world, order)
          await sleep(delay)
          if (who !== 'the new server') for (const guard of guardsOf(next)) kill(guard)
          kill(next.pid)
          const found = await Promise.race([reading, sleep(20_000, 'asleep')])
          if (found === 'asleep') {
            // The first guard had found the new server guarded, and had left: the documented case in
            // which the VM stands still until a server is started again.
            expect(firstGuard !== null && isAlive(firstGuard)).toBe(false)
            await ensurePageServer(world.runtime)
          } else alone++
          expect(await reading).toEqual(order.map(wordOfPage))
          await handing
          expect(world.death()).toBeUndefined()
          // And again, with a guard that was not there before.
          let serving = await pageServer.processes()
          await eventually(async () => {
            serving = await pageServer.processes()
            return serving.guard !== null && isAlive(serving.guard)
          })
          kill(serving.server.pid)
          expect(await words(world, order)).toEqual(order.map(wordOfPage))
        }
      // Killed at once, a server has no guard yet that the first one could leave the VMs to.
      expect(alone).toBeGreaterThanOrEqual(who === 'the new server' ? rounds * delays.length : rounds)
    },
    900_000,
  )

  test('after a hand-over new VMs are served, and no process but the new ones stays', async () => {
    await using world = await openPageServerWorld({}, { runtime: ownRuntime })
    await using later = await openPageServerWorld({}, { runtime: world.runtime })
    const before = await world.start()
    await world.attach()
    // Long enough that the first guard could be the next server.
    await sleep(1500)
    await handOverPageServer(world.runtime)
    await eventually(() => before.guard !== null && !isAlive(before.guard))
    const { server, guard } = await later.start()
    expect(server.pid).not.toBe(before.server.pid)
    expect(processesOf(world.runtime).sort()).toEqual([server.pid, guard?.pid].sort())
    await later.attach()
    expect(await words(later, allPages)).toEqual(allPages.map(wordOfPage))
    expect(await words(world, allPages)).toEqual(allPages.map(wordOfPage))
  })

  test('hand-overs while VMs are loading and servers end of idleness lose none', async () => {
    process.env.VARVE_PAGE_SERVER_LINGER_MS = '30'
    try {
      await using root = await openPageServerWorld({}, { runtime: ownRuntime })
      let going = true
      const handing = (async () => {
        for (; going; await sleep(1)) await handOverPageServer(root.runtime)
      })()
      // It is awaited at the end.
      handing.catch(() => {})
      for (let round = 0; round < 6; round++) {
        await using world = await openPageServerWorld({}, { runtime: root.runtime })
        await world.start()
        await world.attach()
        expect(await words(world, [1, 2000])).toEqual([1, 2000].map(wordOfPage))
        expect(world.death()).toBeUndefined()
      }
      going = false
      await handing
    } finally {
      delete process.env.VARVE_PAGE_SERVER_LINGER_MS
    }
  })

  test('a hand-over that is refused leaves the server, its guard and nobody else', async () => {
    await using world = await openPageServerWorld({}, { runtime: ownRuntime })
    const pageServer = await startPageServer(optionsOf(world))
    await world.attach()
    await words(world, [1])
    await pageServer.record({ writes: false })
    const before = await pageServer.processes()
    await expect(handOverPageServer(world.runtime)).rejects.toMatchObject({ code: 'RECORDER_UNRELIABLE' })
    await eventually(() => processesOf(world.runtime).length === 2)
    expect(await pageServer.processes()).toEqual(before)
    expect(await words(world, allPages)).toEqual(allPages.map(wordOfPage))
  })
})

describe('an order to serve that comes again', () => {
  test('is answered as the first one was, by the same server and by its successor', async () => {
    await using world = await openPageServerWorld({}, { runtime: ownRuntime })
    const first = await world.start()
    expect((await orderService(world.runtime, world.files.config)).server).toEqual(first.server)
    kill(first.server.pid)
    await eventually(() => !isAlive(first.server))
    expect((await orderService(world.runtime, world.files.config)).server).not.toEqual(first.server)
    expect(readdirSync(pageServerRoot(world.runtime).vms)).toHaveLength(1)
    await world.attach()
    expect(await words(world, allPages)).toEqual(allPages.map(wordOfPage))
    // Also of a VM that has handed its memory over.
    await orderService(world.runtime, world.files.config)
    expect(await words(world, allPages)).toEqual(allPages.map(wordOfPage))
    expect(world.death()).toBeUndefined()
  })

  test('twice at once serves the VM once; for another directory it is refused and changes nothing', async () => {
    await using world = await openPageServerWorld({}, { runtime: ownRuntime })
    await using other = await openPageServerWorld({ vmm: world.vmm.identity }, { runtime: world.runtime })
    await ensurePageServer(world.runtime)
    const both = await Promise.all([world.start(), world.start()])
    expect(both[0].server).toEqual(both[1].server)
    await expect(other.start()).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    await world.attach()
    expect(await words(world, allPages)).toEqual(allPages.map(wordOfPage))
  })

  test('that fails leaves nothing of the VM, however often', async () => {
    await using world = await openPageServerWorld({}, { runtime: ownRuntime })
    rmSync(world.config.layers[0]?.path as string)
    for (let times = 0; times < 2; times++) {
      await expect(world.start()).rejects.toThrow(/ENOENT/)
      expect(readdirSync(pageServerRoot(world.runtime).vms)).toEqual([])
    }
    expect(await ask(pageServerRoot(world.runtime).control, '{"op":"processes"}\n', 1)).toHaveLength(1)
  })
})
