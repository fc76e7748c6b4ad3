import { randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { TouchPattern } from '@varve/lab'
import { MicroVm, restoreMicroGuest, seededRandom } from '@varve/lab/testing'
import { captureSnapshot, engineNames, squashSnapshot } from 'varve'
import { isAlive } from 'varve/testing'
import { expect, test } from 'vitest'
import { processes } from '../support/frozen-processes.js'
import { type Came, hasEnded, liveCapturer } from '../support/live-capturer.js'
import { microWorldOfFile } from '../support/micro-world.js'
import { expectSameMemory } from '../support/same-memory.js'

/** Any of the processes that a live capture needs is killed, at a random moment of it. */

const world = microWorldOfFile()
const memoryMib = 64

/** `VARVE_LIVE_KILLS`: more; `VARVE_LIVE_SEED`: the same choices again. */
const kills = Number(process.env.VARVE_LIVE_KILLS ?? 12)
const seed = Number(process.env.VARVE_LIVE_SEED ?? randomInt(2 ** 31))
const random = seededRandom(seed)
const oneOf = <T>(things: readonly T[]): T => things[Math.floor(random() * things.length)] as T

const victims = ['capturer', 'freezer', 'page server'] as const
type Victim = (typeof victims)[number]

const blocks = 40
const blockOf = (index: number): TouchPattern => ({ start: 1024 + index * 300, count: 100 })

type Guest = Awaited<ReturnType<typeof restoredFrom>>

/** By block. */
type Seeds = readonly number[]

interface Sealed {
  readonly ref: string
  readonly seeds: Seeds
}

const place = () => ({ ...world.launch, store: world.store })

async function firstSnapshot(): Promise<Sealed> {
  await using vm = await MicroVm.boot(place(), { memoryMib })
  const seeds: Seeds = Array(blocks).fill(1)
  for (const [index, it] of seeds.entries()) await vm.console.fill(blockOf(index), it)
  await captureSnapshot(vm.machine, { store: world.store, tags: ['first'] })
  return { ref: 'first', seeds }
}

/** Its pages come from a page server, most of them not yet. */
const restoredFrom = ({ ref }: Sealed) => restoreMicroGuest(place(), ref, { engine: 'paged' })

async function verifyAll({ console }: Pick<Guest, 'console'>, seeds: Seeds): Promise<void> {
  for (const [index, it] of seeds.entries()) await console.verify(blockOf(index), it, { words: 1 })
}

async function isRestored({ ref, seeds }: Sealed): Promise<void> {
  await using restored = await restoreMicroGuest(place(), ref, { engine: oneOf(engineNames) })
  await verifyAll(restored, seeds)
  const last = seeds.indexOf(Math.max(...seeds))
  await restored.console.verify(blockOf(last), seeds[last] as number)
}

/** Whether a snapshot has, with those that it builds on, every page that Firecracker itself would save. */
async function isSame(guest: Guest, ref: string): Promise<Guest> {
  const paused = await guest.machine.pause()
  await captureSnapshot(paused, { store: world.store, mode: 'live', tags: [ref] })
  await expectSameMemory(world, paused, ref)
  return { ...guest, machine: await paused.resume() }
}

/** The page server's process, once its guard is there. */
async function serverOf({ pageServer }: Guest): Promise<number> {
  for (;;) {
    const { server, guard } = (await pageServer?.processes()) ?? {}
    if (server !== undefined && guard && isAlive(guard)) return server.pid
    await sleep(5)
  }
}

const freezerOf = (capturer: number): number | undefined =>
  processes().find(({ parent, command }) => parent === capturer && command.includes('freezer-main'))?.pid

function kill(pid: number | undefined): boolean {
  try {
    return pid !== undefined && process.kill(pid, 'SIGKILL')
  } catch {
    return false
  }
}

/** Gives what the capture said, and whether there was something to kill. */
async function killedCapture(
  guest: Guest,
  victim: Victim,
  ref: string,
  lives: Lives,
): Promise<{ readonly came: Came | undefined; readonly killed: boolean }> {
  const server = await serverOf(guest)
  const freeze = oneOf(['auto', 'copy', 'fork'] as const)
  const { child, connected, came } = liveCapturer(world, guest.machine, { mode: 'live', freeze, tags: [ref] })
  await connected
  if (victim === 'freezer')
    while (freezerOf(child.pid as number) === undefined && child.exitCode === null) await sleep(1)
  await sleep(random() * (victim === 'freezer' ? lives.freezerMs : lives.capturerMs))
  const pid =
    victim === 'capturer' ? child.pid : victim === 'freezer' ? freezerOf(child.pid as number) : server
  const killed = child.exitCode === null && kill(pid)
  return { came: await came, killed }
}

/** How long a capture takes, and its freezer lives, if both are left alone. */
interface Lives {
  readonly capturerMs: number
  readonly freezerMs: number
}

async function livesAlone({ machine }: Guest): Promise<Lives> {
  const { child, connected, came } = liveCapturer(world, machine, { mode: 'live', tags: ['alone'] })
  await connected
  const start = performance.now()
  const there = () => freezerOf(child.pid as number) !== undefined
  while (!there()) await sleep(1)
  const begun = performance.now()
  while (there()) await sleep(1)
  const freezerMs = performance.now() - begun
  expect(await came).toMatchObject({ way: { mode: 'live' } })
  return { capturerMs: performance.now() - start, freezerMs }
}

const saysOf = (came: Came | undefined): string =>
  came === undefined ? 'no word' : (came.code ?? (came.lost ? 'taken, a base' : 'taken'))

test(
  `a process that is killed during a live capture: seed ${seed}`,
  async () => {
    const { store } = world
    const outcomes: Record<string, number> = {}
    let last = await firstSnapshot()
    let guest = await restoredFrom(last)
    let seeds = [...last.seeds]
    try {
      const lives = await livesAlone(guest)
      for (let number = 0; number < kills; number++) {
        const fill = async () => {
          const index = Math.floor(random() * blocks)
          seeds[index] = Math.max(...seeds) + 1
          await guest.console.fill(blockOf(index), seeds[index] as number)
        }
        for (let left = 1 + Math.floor(random() * 4); left > 0; left--) await fill()
        const victim = oneOf(victims)
        const during = `during-${number}`
        const { came, killed } = await killedCapture(guest, victim, during, lives)
        const ended = await hasEnded(guest.machine)
        const outcome = `${victim}: ${killed ? '' : 'over already, '}${saysOf(came)}, ${ended ? 'VM ended' : 'runs on'}`
        if (victim === 'page server') expect([outcome, came?.id]).toEqual([outcome, expect.any(String)])

        // Nothing is lost that was sealed.
        const { findings } = await store.fsck()
        expect(findings.filter(({ severity }) => severity === 'error')).toEqual([])
        await isRestored(last)
        const sealed = (await store.list()).find(({ tags }) => tags.includes(during))
        if (came?.id !== undefined) expect(sealed?.id).toBe(came.id)
        if (sealed !== undefined) {
          last = { ref: during, seeds: [...seeds] }
          await isRestored(last)
        }

        if (ended) {
          expect(victim).not.toBe('page server')
          if (came !== undefined) expect(came.message).toContain('the VM with it')
          expect((await guest.machine.exitedError()).message).toContain('SIGKILL')
          await guest[Symbol.asyncDispose]()
          guest = await restoredFrom(last)
          seeds = [...last.seeds]
        }

        // The guest lives and is right, and so is the next snapshot.
        await fill()
        await verifyAll(guest, seeds)
        const next = `next-${number}`
        // If the log was lost, it is a base; and one that lacks pages from the page server is Firecracker's.
        const { way, lost } = await captureSnapshot(guest.machine, { store, tags: [next] })
        if (lost === null) expect(way.mode).toBe('live')
        const kind = lost === null ? 'adds to the last' : `is a ${way.mode === 'live' ? 'live ' : ''}base`
        const line = `${outcome}; next ${kind}`
        outcomes[line] = (outcomes[line] ?? 0) + 1
        last = { ref: next, seeds: [...seeds] }
        await isRestored(last)
        if (random() < 0.3) guest = await isSame(guest, `same-${number}`)

        if (number % 6 === 5) {
          await guest[Symbol.asyncDispose]()
          for (const { id, tags } of await store.list())
            if (!tags.includes(next)) await store.removeSnapshot(id)
          await squashSnapshot(store, next, { all: true })
          await store.gc()
          guest = await restoredFrom(last)
        }
      }
    } finally {
      await guest[Symbol.asyncDispose]()
    }
    console.log(outcomes)
  },
  60_000 + kills * 10_000,
)
