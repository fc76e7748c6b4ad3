import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { MicroConsole } from '@varve/lab'
// The change observer and the page server's control are no part of the public surface.
import {
  bootMachine,
  captureSnapshot,
  handOverPageServer,
  listMachines,
  type RunningMachine,
  restoreMachine,
  takeSnapshot,
} from 'varve'
import { readLayer, squashLayers } from 'varve/layers'
import { observeMutations } from 'varve/testing'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

const world = microWorldOfFile()

const here = (name: string) => ({ name, ...world.launch })
const leases = () => readdirSync(world.path('store/varve/leases'))

const memoryMib = 32
const halves = [
  { start: 1024, count: 2048, seed: 1 },
  { start: 4096, count: 2048, seed: 2 },
] as const

/** Two layers: the guest's first half, and its second half. */
async function twoLayers(tag: string): Promise<void> {
  await using machine = await bootMachine({ kernel: world.kernel, memoryMib, vcpus: 1 }, here(tag))
  await using console = MicroConsole.attach(machine.paths)
  await console.ready()
  const { store } = world
  const [one, two] = halves
  await console.fill(one, one.seed)
  const first = await machine.pause()
  const base = await captureSnapshot(first, { store, tags: [`${tag}-base`] })
  await first.resume().then(async (running) => {
    await console.fill(two, two.seed)
    await captureSnapshot(await running.pause(), { store, parent: base.entry.id, tags: [tag] })
  })
}

async function capture(machine: RunningMachine, parent: string, tag: string): Promise<RunningMachine> {
  const paused = await machine.pause()
  await captureSnapshot(paused, { store: world.store, parent, tags: [tag] })
  return paused.resume()
}

/** As `varve squash` does. */
async function squash(ref: string): Promise<void> {
  const { store } = world
  await using snapshot = await store.open(ref)
  await using staging = await store.stage()
  const path = join(staging.directory, 'layer')
  const old = await Promise.all(snapshot.files.map((file) => readLayer(file.path)))
  await squashLayers(old, path, {})
  await store.relayer(ref, [{ path }])
}

describe('a running machine keeps the layers that its memory comes from', () => {
  test.each(['Diff', 'Full'] as const)(
    'through a capture (%s), squash, another capture, removal and gc: the next page server has them',
    async (type) => {
      const tag = `kept-${type.toLowerCase()}`
      const { store, runtimeDirectory } = world
      await twoLayers(tag)
      const restored = await restoreMachine(store, tag, { ...here(`${tag}-vm`), engine: 'paged' })
      await using machine = restored.machine
      let running = machine
      if (type === 'Diff') running = await capture(running, tag, `${tag}-three`)
      else {
        const paused = await running.pause()
        await captureSnapshot(paused, { store, base: 'Full', tags: [`${tag}-three`] })
        running = await paused.resume()
      }
      await squash(tag)
      if (type === 'Diff') await squash(`${tag}-three`)
      running = await capture(running, `${tag}-three`, `${tag}-four`)
      await store.removeSnapshot(tag)
      await store.removeSnapshot(`${tag}-base`)
      await store.gc()
      await handOverPageServer(runtimeDirectory)
      await using console = MicroConsole.attach(running.paths)
      for (const half of halves) expect(await console.verify(half, half.seed)).toBe(half.count)
      await running.stop()
      expect(leases()).toEqual([])
    },
  )
})

describe('the leases of a machine', () => {
  test('are on what its memory comes from and what its log counts from, and end with it', async () => {
    const { store } = world
    await twoLayers('counted')
    const { machine } = await restoreMachine(store, 'counted', here('counted-vm'))
    const [first] = leases()
    expect(leases()).toHaveLength(1)
    let running = await capture(machine, 'counted', 'counted-2')
    expect(leases()).toHaveLength(2)
    const second = leases().find((name) => name !== first)
    running = await capture(running, 'counted-2', 'counted-3')
    expect(leases()).toHaveLength(2)
    expect(leases()).toContain(first)
    expect(leases()).not.toContain(second)
    await running.stop()
    expect(leases()).toEqual([])
    expect((await store.gc()).removedLeases).toBe(0)
  })

  test('end when it was killed, and its owner sees that', async () => {
    await twoLayers('killed')
    const { machine } = await restoreMachine(world.store, 'killed', here('killed-vm'))
    expect(leases()).toHaveLength(1)
    process.kill(machine.pid, 'SIGKILL')
    await machine.exited
    expect(leases()).toEqual([])
    expect(existsSync(machine.paths.directory)).toBe(false)
    expect(listMachines(world.runtimeDirectory)).toEqual([])
    expect((await machine.exitedError()).message).toContain('SIGKILL')
    await machine.stop()
  })

  test('on what its memory came from ends with graduation, if its log counts from another snapshot', async () => {
    const { store } = world
    for (const order of ['graduated first', 'captured first']) {
      const tag = `alone-${order.split(' ')[0]}`
      await twoLayers(tag)
      const options = { ...here(`${tag}-vm`), engine: 'paged', graduate: true } as const
      const restored = await restoreMachine(store, tag, options)
      await using machine = restored.machine
      const graduated = async () => {
        const { state } = (await restored.pageServer?.graduation({ wait: true })) ?? {}
        expect(state).toBe('finished')
      }
      const [first] = leases()
      if (order === 'graduated first') await graduated()
      const running = await capture(machine, tag, `${tag}-2`)
      if (order === 'captured first') await graduated()
      expect(leases()).toHaveLength(1)
      expect(leases()).not.toContain(first)
      await using console = MicroConsole.attach(running.paths)
      for (const half of halves) expect(await console.verify(half, half.seed)).toBe(half.count)
    }
    expect(leases()).toEqual([])
  })
})

/** A gc by another process, which is done when this returns. */
function gcElsewhere(): void {
  const gc = `import { openLocalStore } from 'varve'
    await (await openLocalStore(process.argv[1])).gc()`
  const args = ['--input-type=module', '-e', gc, world.store.location]
  execFileSync(process.execPath, args, { cwd: import.meta.dirname })
}

describe('a capture without a tag', () => {
  afterEach(() => observeMutations(undefined))
  const booted = (name: string) => bootMachine({ kernel: world.kernel, memoryMib: 16, vcpus: 1 }, here(name))

  /** Runs gc right after the index has come to name what is captured, and the store's lock is free again. */
  function gcAfterCommit(): { readonly ran: boolean } {
    const state = { named: false, ran: false }
    observeMutations(({ kind, path }) => {
      if (kind === 'rename' && path.endsWith('/index.json')) state.named = true
      if (!state.named || state.ran || kind !== 'rmdir') return
      state.ran = true
      gcElsewhere()
    })
    return state
  }

  test('is the VM’s and this process’s from the moment at which the index names it', async () => {
    await using machine = await booted('untagged')
    const paused = await machine.pause()
    const gc = gcAfterCommit()
    const { entry } = await captureSnapshot(paused, { store: world.store })
    expect(gc.ran).toBe(true)
    observeMutations(undefined)
    const child = await captureSnapshot(paused, { store: world.store, parent: entry.id })
    await paused.stop()
    gcElsewhere()
    const { machine: again } = await restoreMachine(world.store, child.entry.id, here('untagged-again'))
    await again.stop()
    for (const { id } of [entry, child.entry]) await world.store.removeSnapshot(id)
    gcElsewhere()
    expect(await world.store.list()).not.toContainEqual(expect.objectContaining({ id: child.entry.id }))
    expect(leases()).toEqual([])
  })

  test('is sealed on its parent although the VM has ended, and the parent has lost its tag', async () => {
    const { store } = world
    await using machine = await booted('ended')
    const paused = await machine.pause()
    const { entry } = await captureSnapshot(paused, { store, tags: ['ended-base'] })
    await using taken = await takeSnapshot(paused, { store, parent: entry.id })
    await paused.stop()
    await store.removeSnapshot('ended-base')
    gcElsewhere()
    const sealed = await taken.seal({ tags: ['ended-child'] })
    expect(sealed.entry.parent).toBe(entry.id)
    expect(leases()).toEqual([])
    await (await store.open('ended-child'))[Symbol.asyncDispose]()
    await store.removeSnapshot('ended-child')
  })
})

describe('gc keeps what a living process has', () => {
  const held: ChildProcess[] = []
  afterAll(() => {
    for (const child of held) child.kill('SIGKILL')
  })

  /**
   * A machine with a disk of its own, from a snapshot that only its leases keep; and another such snapshot,
   * held open.
   */
  async function holder(tag: string, command: readonly string[]) {
    const { store, binary, directory } = world
    const disk = world.path(`${tag}.img`)
    writeFileSync(disk, Buffer.alloc(2 ** 20, 7))
    const ids: string[] = []
    for (const name of [`${tag}-restored`, `${tag}-opened`]) {
      const spec = { kernel: world.kernel, memoryMib: 16, vcpus: 1, disks: [{ id: 'data', path: disk }] }
      await using machine = await bootMachine(spec, here(name))
      const { entry } = await captureSnapshot(await machine.pause(), { store, tags: [name] })
      ids.push(entry.id)
    }
    const runtime = join(directory, `run-${tag}`)
    const script = join(import.meta.dirname, '../support/holds-snapshot.mjs')
    const [file = '', ...args] = [...command, process.execPath, script, store.location, runtime, binary.path]
    const child = spawn(file, [...args, ...ids], { stdio: ['pipe', 'pipe', 'inherit'] })
    held.push(child)
    const line: Buffer = (await once(child.stdout as NonNullable<typeof child.stdout>, 'data'))[0]
    const said = JSON.parse(line.toString()) as { pid: number; disks: { hostPath: string }[] }
    for (const id of ids) await store.removeSnapshot(id)
    return { ids, runtime, said, child, disk: said.disks[0]?.hostPath as string }
  }

  const stored = async (ids: readonly string[]) =>
    (await world.store.list()).filter(({ id }) => ids.includes(id)).map(({ id }) => id)

  async function end(child: ChildProcess): Promise<void> {
    child.stdin?.end()
    if (child.exitCode === null) await once(child, 'exit')
  }

  test('in another PID namespace: leases, disks, and the machine in a listing', async () => {
    const { ids, runtime, said, child, disk } = await holder('inside', ['unshare', '-pf', '--mount-proc'])
    expect(said.pid).toBe(1)
    expect(listMachines(runtime)).toHaveLength(1)
    await world.store.gc()
    expect(await stored(ids)).toEqual(ids)
    expect(existsSync(disk)).toBe(true)
    await end(child)
    const report = await world.store.gc()
    expect(report.removedSnapshots).toEqual(expect.arrayContaining(ids))
    expect([existsSync(disk), leases()]).toEqual([false, []])
  })

  test('after a kill of all that is in that namespace nothing is kept', async () => {
    const { ids, runtime, child, disk } = await holder('lost', [
      'unshare',
      '-pf',
      '--mount-proc',
      '--kill-child',
    ])
    child.kill('SIGKILL')
    await once(child, 'exit')
    await expect.poll(() => listMachines(runtime)).toEqual([])
    const afterGc = async () => {
      await world.store.gc()
      return stored(ids)
    }
    await expect.poll(afterGc).toEqual([])
    expect([existsSync(disk), leases()]).toEqual([false, []])
  })

  test('whatever the clock says', async () => {
    const { ids, child, disk } = await holder('stepped', [])
    const gc = `import { openLocalStore } from 'varve'
      await (await openLocalStore(process.argv[1])).gc()`
    const preload = join(import.meta.dirname, '../support/clock-ahead.mjs')
    const args = ['--import', preload, '--input-type=module', '-e', gc, world.store.location]
    execFileSync(process.execPath, args, { cwd: import.meta.dirname })
    expect(existsSync(disk)).toBe(true)
    expect(await stored(ids)).toEqual(ids)
    await end(child)
  })
})
