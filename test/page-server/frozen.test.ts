import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { ProcessIdentity } from 'varve'
import {
  type FrozenSource,
  isAlive,
  type PageServerClient,
  type PageServerConfig,
  pageServerConfigToJson,
  processIdentity,
  replaceFrozen,
  startPageServer,
} from 'varve/testing'
import { describe, expect, test } from 'vitest'
import {
  allPages,
  ask,
  eventually,
  openPageServerWorld,
  optionsOf,
  ownRuntime,
  type PageServerWorld,
  shuffled,
  wordOfPage,
  words,
} from '../support/page-server-world.js'

const program = fileURLToPath(new URL('../support/frozen-process.mjs', import.meta.url))
const kill = ({ pid }: ProcessIdentity) => process.kill(pid, 'SIGKILL')
const order = shuffled(allPages)
const [first, second, third] = [order.slice(0, 1000), order.slice(1000, 2000), order.slice(2000)]

/** A world whose last layer lies in the memory of a process, in two regions. */
interface FrozenWorld extends AsyncDisposable {
  readonly world: PageServerWorld
  readonly pageServer: PageServerClient
  readonly frozen: FrozenSource
  /** What the VM is served from once all of it is in layers. */
  readonly sealed: Pick<PageServerConfig, 'layers' | 'map'>
}

async function openFrozenWorld(): Promise<FrozenWorld> {
  const world = await openPageServerWorld({}, { runtime: ownRuntime })
  const { layers, map } = world.config
  const last = layers.at(-1) as (typeof layers)[number]
  const child = spawn(process.execPath, [program, last.path], { stdio: ['ignore', 'pipe', 'inherit'] })
  const frozen = { process: await identityOf(child), regions: await regionsOf(child, last.pages / 2) }
  const options = { ...optionsOf(world), layers: layers.slice(0, -1), frozen }
  const pageServer = await startPageServer(options)
  await world.attach()
  return {
    ...{ world, pageServer, frozen, sealed: { layers, map } },
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL')
      await world[Symbol.asyncDispose]()
    },
  }
}

async function identityOf({ pid }: ChildProcess): Promise<ProcessIdentity> {
  return processIdentity(pid as number) as ProcessIdentity
}

async function regionsOf(child: ChildProcess, pages: number): Promise<FrozenSource['regions']> {
  const [line] = await once(createInterface({ input: child.stdout as NodeJS.ReadableStream }), 'line')
  const addresses = JSON.parse(line as string) as number[]
  return addresses.map((address, index) => ({ address, firstPage: index * pages, pages }))
}

const areRight = async (world: PageServerWorld, pages: readonly number[]) =>
  expect(await words(world, pages)).toEqual(pages.map(wordOfPage))

async function killServer({ pageServer }: FrozenWorld): Promise<void> {
  const { server } = await pageServer.processes()
  kill(server)
  await eventually(async () => {
    const now = await pageServer.processes()
    return now.server.pid !== server.pid && now.guard !== null && isAlive(now.guard)
  })
}

describe('memory of a frozen process', () => {
  test('is served as layers are, each page right, also by a successor', async () => {
    await using it = await openFrozenWorld()
    await areRight(it.world, first)
    await killServer(it)
    await areRight(it.world, second)
    await areRight(it.world, third)
    expect([it.world.death(), it.world.log()]).toEqual([undefined, ''])
  })

  test('is needed no more once the VM is served from layers, by this server and by a successor', async () => {
    await using it = await openFrozenWorld()
    await areRight(it.world, first)
    await replaceFrozen(it.world.directory, it.sealed)
    kill(it.frozen.process)
    await areRight(it.world, second)
    await killServer(it)
    await areRight(it.world, third)
    await replaceFrozen(it.world.directory, it.sealed)
    expect([it.world.death(), it.world.log()]).toEqual([undefined, ''])
  })

  test('is needed no more if the server dies when the configuration was replaced and not read', async () => {
    await using it = await openFrozenWorld()
    await areRight(it.world, first)
    const { server } = await it.pageServer.processes()
    process.kill(server.pid, 'SIGSTOP')
    const replacing = replaceFrozen(it.world.directory, it.sealed)
    kill(server)
    await replacing
    kill(it.frozen.process)
    await areRight(it.world, [...second, ...third])
  })

  test('that has gone ends the VM with the reason, whether or not it asks for a page', async () => {
    await using it = await openFrozenWorld()
    await areRight(it.world, first)
    kill(it.frozen.process)
    expect(await it.world.vmmEnded).toEqual({ code: null, signal: 'SIGKILL' })
    expect(it.world.death()).toMatchObject({
      reason: 'page-server-died',
      detail: expect.stringContaining(`frozen memory that it was cloned from has gone (process`),
    })
  })

  test('that is on its way to its end is not read any more: it may have lost pages by then', async () => {
    await using it = await openFrozenWorld()
    await areRight(it.world, first)
    const { pid } = it.frozen.process
    process.kill(pid, 'SIGCONT')
    await eventually(async () => readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') S '))
    expect(await words(it.world, second).catch(() => 'ended')).toBe('ended')
    expect(it.world.death()).toMatchObject({
      reason: 'page-server-died',
      detail: expect.stringContaining('has gone'),
    })
  })

  test('that has gone is never read as zeros: a VM that asks ends before it has an answer', async () => {
    await using it = await openFrozenWorld()
    const { server } = await it.pageServer.processes()
    // So that only the thread that answers faults can notice: the main thread looks every 100 ms.
    const asked = words(it.world, order).catch(() => 'ended')
    await eventually(async () => (await it.pageServer.stats()).faults > 20)
    kill(it.frozen.process)
    expect(await asked).toBe('ended')
    expect(it.world.death()?.detail).toContain('has gone')
    expect(isAlive(server)).toBe(true)
  })

  test('is gone when a successor looks: the VM ends with the reason', async () => {
    await using it = await openFrozenWorld()
    await areRight(it.world, first)
    const { server } = await it.pageServer.processes()
    process.kill(server.pid, 'SIGSTOP')
    kill(it.frozen.process)
    kill(server)
    expect(await it.world.vmmEnded).toEqual({ code: null, signal: 'SIGKILL' })
    expect(it.world.death()?.detail).toContain('has gone')
  })

  test('a configuration that is not of the same VM and image is refused, and the VM is served on', async () => {
    await using it = await openFrozenWorld()
    const { config, directory, files } = it.world
    const other = { ...config, vmm: { ...config.vmm, startTime: config.vmm.startTime + 1 } }
    writeFileSync(files.config, pageServerConfigToJson(other))
    const [answer] = await ask(config.controlPath, '{"op":"reread"}\n', 1)
    expect(answer).toMatchObject({ code: 'FORMAT_INVALID', error: expect.stringContaining(directory) })
    await areRight(it.world, allPages)
  })

  test('a recording begins only when it is needed no more', async () => {
    await using it = await openFrozenWorld()
    await expect(it.pageServer.record({ writes: false })).rejects.toMatchObject({
      code: 'RECORDER_UNRELIABLE',
    })
    await replaceFrozen(it.world.directory, it.sealed)
    await it.pageServer.record({ writes: false })
    await areRight(it.world, first)
    expect((await it.pageServer.recorded({ next: 'stop' })).pages.length).toBeGreaterThan(100)
  })
})
