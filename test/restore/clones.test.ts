import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { MicroConsole } from '@varve/lab'
import {
  bootMachine,
  captureSnapshot,
  cloneMachines,
  isVarveError,
  listMachines,
  type MachineSpec,
  type PausedMachine,
  type RunningMachine,
  restoreMachine,
  stopMachine,
} from 'varve'
import { afterEach, describe, expect, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

/**
 * What clones of one snapshot have for themselves. The micro guest drives neither vsock nor network;
 * Firecracker opens socket and tap device all the same. Of disks tells machine/disks.test.ts.
 */
const world = microWorldOfFile()
afterEach(() => {
  expect(listMachines(world.runtimeDirectory)).toEqual([])
  // Directories of machines that have ended, sockets and all.
  expect(readdirSync(join(world.runtimeDirectory, 'machines'))).toEqual([])
})

const pattern = { start: 1024, count: 100, order: 3 } as const

/** Boots, has the guest write, and captures; the machine runs on. */
async function original(tag: string, spec: Partial<MachineSpec>): Promise<RunningMachine> {
  const machine = await bootMachine({ kernel: world.kernel, memoryMib: 32, vcpus: 1, ...spec }, world.launch)
  try {
    await using console = MicroConsole.attach(machine.paths)
    await console.fill(pattern, 1)
    const paused = await machine.pause()
    await captureSnapshot(paused, { store: world.store, tags: [tag] })
    return await paused.resume()
  } catch (error) {
    await machine.stop()
    throw error
  }
}

async function verified(machine: RunningMachine | PausedMachine): Promise<number> {
  await using console = MicroConsole.attach(machine.paths)
  return await console.verify(pattern, 1)
}

/** Whether a process listens on a Unix socket. */
const listens = (path: string) =>
  new Promise<boolean>((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })

test('a restore and clones can be disposed of; what was detached lives on', async () => {
  const { store, launch, runtimeDirectory } = world
  {
    await using _original = await original('disposed', {})
  }
  const running = () => listMachines(runtimeDirectory).map(({ record }) => record.id)
  {
    await using restored = await restoreMachine(store, 'disposed', {
      ...launch,
      record: { recorders: ['pagemap'] },
    })
    expect(running()).toEqual([restored.machine.id])
  }
  expect(running()).toEqual([])
  {
    // The types of the handles follow `resume`, as those of restoreMachine do.
    await using paused = await cloneMachines(store, 'disposed', 2, { ...launch, resume: false })
    const states = await Promise.all(paused.map(async ({ machine }) => (await machine.resume()).state))
    expect(states).toEqual(['running', 'running'])
    await using started = await cloneMachines(store, 'disposed', 1, { ...launch, name: 'kept' })
    expect((await started[0]?.machine.pause())?.state).toBe('paused')
    expect(running()).toHaveLength(3)
    started[0]?.machine.detach()
  }
  expect(running()).toEqual(['kept-1'])
  await stopMachine('kept-1', { runtimeDirectory })
})

describe('vsock', () => {
  test.each(['file', 'mapped', 'paged'] as const)(
    'clones by %s run at once beside their original, each with a socket of its own',
    async (engine) => {
      const machine = await original(`vsock-${engine}`, { vsockCid: 3 })
      await using _original = machine
      const clones = await cloneMachines(world.store, `vsock-${engine}`, 4, { ...world.launch, engine })
      try {
        const all = [machine, ...clones.map((clone) => clone.machine)]
        const sockets = all.map(({ vsockPath }) => vsockPath as string)
        expect(new Set(sockets).size).toBe(5)
        expect(sockets.map(dirname)).toEqual(all.map(({ paths }) => paths.directory))
        expect(await Promise.all(sockets.map(listens))).toEqual([true, true, true, true, true])
        expect(await Promise.all(all.map(verified))).toEqual([100, 100, 100, 100, 100])
        // Whose socket it is shows when its machine ends: this one's goes, the others stay.
        await all[2]?.stop()
        expect(await Promise.all(sockets.map(listens))).toEqual([true, true, false, true, true])
        expect(sockets.map((path) => existsSync(path))).toEqual([true, true, false, true, true])
      } finally {
        for (const clone of clones) await clone.machine.stop()
      }
    },
  )
})

/** The tap devices that a process has open. */
const tapsOf = ({ pid }: { readonly pid: number }) =>
  readdirSync(`/proc/${pid}/fdinfo`).flatMap(
    (fd) => /^iff:\t(\S+)$/m.exec(readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8'))?.[1] ?? [],
  )

/** CAP_NET_ADMIN, by its number in linux/capability.h. */
const netAdmin = 1n << 12n
const capabilities = BigInt(`0x${/^CapEff:\s*(\S+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]}`)
const mayMakeTaps = existsSync('/dev/net/tun') && (capabilities & netAdmin) !== 0n

// Firecracker makes a tap device that is not there, if it has CAP_NET_ADMIN, as root outside a jail has; it
// is gone with its last user. So nothing has to be made before, nor removed after.
const withTaps = () => {
  const tap = (name: string) => `vt${process.pid % 100_000}-${name}`
  const exists = (name: string) => existsSync(`/sys/class/net/${tap(name)}`)

  test('clones run at once beside their original, each on the tap it is told; without one, the original’s is busy', async () => {
    {
      await using machine = await original('tap', { network: [{ id: 'eth0', tap: tap('o') }] })
      expect(tapsOf(machine)).toEqual([tap('o')])
      const busy = await restoreMachine(world.store, 'tap', world.launch).catch((error: unknown) => error)
      expect(isVarveError(busy, 'LOAD_FAILED') && busy.message).toMatch(/busy/i)
      const clones = await cloneMachines(world.store, 'tap', 3, {
        ...world.launch,
        each: (number) => ({ networkOverrides: { eth0: tap(`${number}`) } }),
      })
      try {
        expect(clones.map((clone) => tapsOf(clone.machine))).toEqual([[tap('1')], [tap('2')], [tap('3')]])
        expect(tapsOf(machine)).toEqual([tap('o')])
        const [first] = clones.map((clone) => clone.machine)
        expect(await Promise.all(clones.map((clone) => verified(clone.machine)))).toEqual([100, 100, 100])
        // What a clone's own snapshot says is the clone's tap.
        const running = first as RunningMachine
        await captureSnapshot(await running.pause(), { store: world.store, tags: ['tap-1'], parent: 'tap' })
      } finally {
        for (const clone of clones) await clone.machine.stop()
      }
      const { machine: again } = await restoreMachine(world.store, 'tap-1', world.launch)
      await using _again = again
      expect(tapsOf(again)).toEqual([tap('1')])
      expect(await verified(again)).toBe(100)
    }
    expect(['o', '1', '2', '3'].filter(exists)).toEqual([])
  })

  test('an interface that the snapshot has not is a failed load; nothing runs then', async () => {
    await using _machine = await original('tap-unknown', { network: [{ id: 'eth0', tap: tap('u') }] })
    const error = await cloneMachines(world.store, 'tap-unknown', 2, {
      ...world.launch,
      each: (number) => ({ networkOverrides: { eth7: tap(`${number}`) } }),
    }).catch((it: unknown) => it)
    expect(isVarveError(error, 'LOAD_FAILED') && error.message).toMatch(/network/i)
    expect(listMachines(world.runtimeDirectory)).toHaveLength(1)
    expect(['1', '2'].filter(exists)).toEqual([])
  })
}

const withoutTaps = () => {
  test('where no tap device can be made (no /dev/net/tun, or no CAP_NET_ADMIN) a machine with one is refused, and NOTHING IS SHOWN HERE OF CLONES WITH TAP DEVICES', async () => {
    const error = await original('no-tap', { network: [{ id: 'eth0', tap: 'vt0' }] }).catch(
      (it: unknown) => it,
    )
    expect(isVarveError(error, 'API_REFUSED') && error.message).toMatch(/tap|tun/i)
    console.error('clones with tap devices were not tested: this host lets nobody make a tap device')
  })
}

describe('tap devices', mayMakeTaps ? withTaps : withoutTaps)
