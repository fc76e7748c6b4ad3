import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { bootMicroGuest } from '@varve/lab'
import { MicroVm, type Written } from '@varve/lab/testing'
import { withTmpfs } from '@varve/scenarios'
import { captureSnapshot, openLocalStore, type RunningMachine, takeSnapshot } from 'varve'
import { isAlive } from 'varve/testing'
import { beforeEach, describe, expect, test } from 'vitest'
import { failure } from '../support/failure.js'
import { untilTrue } from '../support/frozen-processes.js'
import { hasEnded, liveCapturer } from '../support/live-capturer.js'
import { microWorldOfFile } from '../support/micro-world.js'

/** What others may do to a VMM, its cgroup or its files while it is captured live. */

const world = microWorldOfFile()
const memoryMib = 64
const many: Written = { pattern: { start: 1024, count: 12_000 }, seed: 1 }
const some: Written = { pattern: { start: 1025, count: 1000, stride: 2 }, seed: 2 }
const few: Written = { pattern: { start: 14_000, count: 50 }, seed: 3 }

let round = 0
beforeEach(() => {
  round++
})

const place = () => ({ ...world.launch, store: world.store })
const here = (name: string) => fileURLToPath(new URL(`../support/${name}`, import.meta.url))

async function boot(): Promise<MicroVm> {
  const vm = await MicroVm.boot(place(), { memoryMib })
  await vm.fill(many)
  await captureSnapshot(vm.machine, { store: world.store, mode: 'live' })
  return vm
}

/** The next live snapshot is one that another machine can be restored from. */
async function nextIsRight(vm: MicroVm, expected: readonly Written[]): Promise<void> {
  const tag = `next-${round}`
  await captureSnapshot(vm.machine, { store: world.store, mode: 'live', tags: [tag] })
  await vm.verify(...expected)
  await isRestored(tag, expected)
}

async function isRestored(tag: string, expected: readonly Written[]): Promise<void> {
  await using restored = await MicroVm.restore(place(), tag, 'file')
  await restored.resume()
  await restored.verify(...expected)
}

/** `live` refuses, for this reason; `auto` has Firecracker write the memory, says why, and loses nothing. */
async function refusesLive(vm: MicroVm, why: string): Promise<void> {
  const refused = await failure(captureSnapshot(vm.machine, { store: world.store, mode: 'live' }))
  expect(refused).toMatchObject({ code: 'HOST_UNSUPPORTED', message: expect.stringContaining(why) })
  const { way, lost } = await captureSnapshot(vm.machine, { store: world.store })
  expect(way).toMatchObject({ mode: 'stop', because: expect.stringContaining(why) })
  expect(lost).toBeNull()
}

/** A shell that runs the script over and over, and is ended with what it began. */
function storm(script: string, pid: number): AsyncDisposable {
  const child = spawn('sh', ['-c', `while :; do ${script}; done`, 'sh', String(pid)], { stdio: 'ignore' })
  return { [Symbol.asyncDispose]: () => end(child) }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  child.kill('SIGKILL')
  await once(child, 'exit')
}

async function tracer(machine: RunningMachine): Promise<AsyncDisposable> {
  const child = spawn(process.execPath, [here('tracer.mjs'), JSON.stringify(machine.identity)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  await once(child.stdout, 'data')
  return {
    [Symbol.asyncDispose]: async () => {
      child.stdin.end()
      await once(child, 'exit')
    },
  }
}

/** A capture of the machine by another process. */
const capturer = (
  { machine }: MicroVm,
  options: Parameters<typeof liveCapturer>[2],
  by: readonly string[] = [],
) => liveCapturer(world, machine, options, { by })

/** A cgroup (version 1) of a controller, with the VMM in it; undefined if there can be none. */
function cgroup(
  controller: string,
  pid: number,
): { path: string; set(name: string, value: number): void; remove(): Promise<void> } | undefined {
  const path = `/sys/fs/cgroup/${controller}/varve-test-${process.pid}-${round}`
  try {
    mkdirSync(path)
    writeFileSync(`${path}/cgroup.procs`, String(pid))
  } catch {
    if (existsSync(path)) rmdirSync(path)
    return undefined
  }
  return {
    path,
    set: (name, value) => writeFileSync(`${path}/${name}`, String(value)),
    remove: async () => {
      for (let tries = 0; tries < 100; tries++)
        try {
          rmdirSync(path)
          return
        } catch {
          await sleep(20)
        }
    },
  }
}

const tasksOf = (pid: number) => readdirSync(`/proc/${pid}/task`).length

describe('a VMM that is captured live', () => {
  test('under a storm of signals that it does not heed', async () => {
    await using vm = await boot()
    await using _storm = storm('kill -WINCH $1; kill -CHLD $1; kill -URG $1; kill -CONT $1', vm.machine.pid)
    for (const freeze of ['copy', 'fork', 'copy', 'fork', 'fork'] as const) {
      await vm.fill(some)
      const { way } = await captureSnapshot(vm.machine, { store: world.store, mode: 'live', freeze })
      expect(way.frozen?.how).toBe(freeze)
    }
    await nextIsRight(vm, [some])
  })

  test('while it is stopped and continued all the time', async () => {
    await using vm = await boot()
    {
      await using _storm = storm('kill -STOP $1; kill -CONT $1', vm.machine.pid)
      for (const freeze of ['copy', 'fork', 'copy', 'fork', 'fork'] as const) {
        await vm.fill(some)
        const { way } = await captureSnapshot(vm.machine, { store: world.store, mode: 'live', freeze })
        expect(way.frozen?.how).toBe(freeze)
      }
    }
    process.kill(vm.machine.pid, 'SIGCONT')
    await nextIsRight(vm, [some])
  })

  test('and was stopped before: the capture waits until it is continued', async () => {
    await using vm = await boot()
    await vm.fill(some)
    process.kill(vm.machine.pid, 'SIGSTOP')
    const captured = captureSnapshot(vm.machine, {
      store: world.store,
      mode: 'live',
      tags: [`stopped-${round}`],
    })
    expect(await Promise.race([captured, sleep(500).then(() => 'waits')])).toBe('waits')
    process.kill(vm.machine.pid, 'SIGCONT')
    expect((await captured).way.mode).toBe('live')
    await isRestored(`stopped-${round}`, [some])
  })

  test('and has another tracer: live refuses, auto has Firecracker write the memory and says why', async () => {
    await using vm = await boot()
    await vm.fill(some)
    {
      await using _tracer = await tracer(vm.machine as RunningMachine)
      await refusesLive(vm, 'cannot be traced')
    }
    await vm.fill(few)
    await nextIsRight(vm, [some, few])
  })

  test('and whose cgroup has room for no more processes, or for one', async (context) => {
    await using vm = await boot()
    const { pid } = vm.machine
    const limit = cgroup('pids', pid)
    if (limit === undefined) return context.skip('no cgroup of version 1 can be made')
    try {
      for (const more of [0, 1]) {
        limit.set('pids.max', tasksOf(pid) + more)
        await vm.fill(some)
        await refusesLive(vm, 'EAGAIN')
      }
      limit.set('pids.max', tasksOf(pid) + 2)
      await nextIsRight(vm, [some])
    } finally {
      await vm.machine.stop()
      await limit.remove()
    }
  })

  test('and whose cgroup runs out of memory: the frozen child is killed, not the VM', async (context) => {
    await using vm = await boot()
    const limit = cgroup('memory', vm.machine.pid)
    if (limit === undefined) return context.skip('no cgroup of version 1 can be made')
    try {
      const taken = await takeSnapshot(vm.machine, {
        store: world.store,
        mode: 'live',
        freeze: 'fork',
        base: 'Full',
      })
      limit.set('memory.limit_in_bytes', 24 * 2 ** 20)
      const again: Written = { ...many, seed: 7 }
      await vm.fill(again)
      expect(await failure(taken.seal())).toMatchObject({
        code: 'HOST_UNSUPPORTED',
        message: expect.stringContaining('the frozen memory was killed'),
      })
      await vm.verify(again)
      limit.set('memory.limit_in_bytes', 2 ** 40)
      await nextIsRight(vm, [again])
    } finally {
      await vm.machine.stop()
      await limit.remove()
    }
  })

  test('and is killed at any moment: the capture fails, and nothing is left of it', async () => {
    const start = performance.now()
    {
      await using vm = await boot()
      await captureSnapshot(vm.machine, { store: world.store, mode: 'live', freeze: 'fork' })
    }
    const lifeMs = (performance.now() - start) / 2
    const codes = new Set<string>()
    for (let kill = 0; kill < 8; kill++) {
      await using vm = await boot()
      const captured = captureSnapshot(vm.machine, {
        store: world.store,
        mode: 'live',
        freeze: kill % 2 === 0 ? 'fork' : 'copy',
      })
      const came = captured.then(
        () => 'taken',
        (error) => error.code as string,
      )
      await sleep((lifeMs * kill) / 8)
      process.kill(vm.machine.pid, 'SIGKILL')
      codes.add(await came)
      await vm.machine.exited
    }
    for (const code of codes) expect(['taken', 'MACHINE_EXITED', 'INJECTION_FAILED']).toContain(code)
  })
})

describe('a live capture by another process', () => {
  /** `VARVE_CAPTURER_KILLS`: more, over the same moments. */
  const kills = Number(process.env.VARVE_CAPTURER_KILLS ?? 8)

  test('that is killed at any moment leaves a guest that goes on, unless its VMM was held', async () => {
    let vm = await boot()
    const came = { kills, ended: 0 }
    try {
      const first = capturer(vm, { mode: 'live' })
      await first.connected
      const start = performance.now()
      expect(await first.came).toMatchObject({ way: { mode: 'live' } })
      const lifeMs = performance.now() - start
      for (let kill = 0; kill < kills; kill++) {
        await vm.fill(kill % 2 === 0 ? some : few)
        const options = { mode: 'live', freeze: kill % 3 === 0 ? 'copy' : 'fork' } as const
        const { child, connected, came: ends } = capturer(vm, options)
        await connected
        await sleep((lifeMs * kill) / kills)
        await end(child)
        await ends
        if (await hasEnded(vm.machine)) {
          came.ended++
          expect(await vm.machine.exited).toMatchObject({ signal: 'SIGKILL' })
          await vm[Symbol.asyncDispose]()
          vm = await boot()
          await vm.fill(some, few)
        }
        if (kill % 4 === 3) await nextIsRight(vm, [some, few])
      }
      await vm.fill(some, few)
      await nextIsRight(vm, [some, few])
      const left = readdirSync(vm.machine.paths.directory)
      expect(left.filter((name) => /^live-|^owed-pages\.|^rehearsal/.test(name))).toEqual([])
    } finally {
      await vm[Symbol.asyncDispose]()
    }
    console.log(came)
    // The VMM is held for some 4 ms of some 200.
    expect(came.ended).toBeLessThan(1 + kills / 4)
  })

  test('of a VMM that has the same few rights falls back, and says why', async () => {
    const runtimeDirectory = world.path('few-rights')
    const tag = `rights-${round}`
    const order = { runtimeDirectory, store: world.path('store'), tag, memoryMib, written: some }
    const args = ['--bounding-set=-sys_ptrace,-sys_admin', process.execPath, here('without-rights.mjs')]
    const child = spawn('setpriv', [...args, JSON.stringify(order)], { stdio: ['ignore', 'pipe', 'inherit'] })
    let text = ''
    for await (const part of child.stdout) text += String(part)
    expect(JSON.parse(text)).toMatchObject({
      refused: {
        code: 'HOST_UNSUPPORTED',
        message: expect.stringContaining('cannot be traced: not permitted'),
      },
      way: { mode: 'stop', because: expect.stringContaining('cannot be traced: not permitted') },
      lost: null,
    })
    await isRestored(tag, [some])
  })

  test('at the same time as another: each has a snapshot that is right, or is refused', async () => {
    await using vm = await boot()
    for (let pair = 0; pair < 3; pair++) {
      await vm.fill(some)
      const tags = [0, 1].map((index) => `pair-${round}-${pair}-${index}`)
      const both = tags.map((tag) => capturer(vm, { mode: 'live', freeze: 'fork', tags: [tag] }))
      const came = await Promise.all(both.map((it) => it.came))
      expect(came.some((it) => it?.id !== undefined)).toBe(true)
      for (const [index, it] of came.entries())
        if (it?.id !== undefined) await isRestored(tags[index] as string, [some])
        else expect(['IMAGE_MISMATCH', 'HOST_UNSUPPORTED']).toContain(it?.code)
      await vm.fill(few)
      await nextIsRight(vm, [some, few])
    }
  })
})

describe('a live capture that is not sealed', () => {
  async function dropped(vm: MicroVm): Promise<void> {
    await vm.fill(some)
    await (await takeSnapshot(vm.machine, { store: world.store, mode: 'live' }))[Symbol.asyncDispose]()
    await vm.fill(few)
  }

  test('makes the first snapshot by Firecracker a whole base', async () => {
    for (const base of [false, true] as const) {
      await using vm = await MicroVm.boot(place(), { memoryMib })
      await dropped(vm)
      const tag = `whole-${round}-${base}`
      const { type } = await captureSnapshot(vm.machine, {
        store: world.store,
        mode: 'stop',
        base,
        tags: [tag],
      })
      expect(type).toBe('Full')
      await isRestored(tag, [some, few])
    }
  })

  test('has Firecracker refuse a Diff that would lack its pages', async () => {
    await using vm = await MicroVm.boot(place(), { memoryMib })
    await dropped(vm)
    expect(
      await failure(captureSnapshot(vm.machine, { store: world.store, mode: 'stop', base: 'Diff' })),
    ).toMatchObject({ code: 'IMAGE_MISMATCH' })
    const { entry } = await captureSnapshot(vm.machine, { store: world.store, mode: 'live' })
    await dropped(vm)
    expect(
      await failure(captureSnapshot(vm.machine, { store: world.store, mode: 'stop', parent: entry.id })),
    ).toMatchObject({ code: 'IMAGE_MISMATCH', message: expect.stringContaining('owes pages') })
    await nextIsRight(vm, [some, few])
  })

  test.each(['damaged', 'shortened', 'removed', 'of another machine'])(
    'and whose owed pages are %s makes the next one a base, which says why',
    async (how) => {
      await using vm = await boot()
      await dropped(vm)
      const path = `${vm.machine.paths.directory}/owed-pages`
      if (how === 'damaged') {
        truncateSync(path, statSync(path).size - 1)
        writeFileSync(path, 'x', { flag: 'a' })
      } else if (how === 'shortened') truncateSync(path, 100)
      else if (how === 'removed') rmSync(path)
      else {
        await using other = await boot()
        await dropped(other)
        copyFileSync(`${other.machine.paths.directory}/owed-pages`, path)
      }
      const tag = `owed-${round}`
      const next = await captureSnapshot(vm.machine, { store: world.store, mode: 'live', tags: [tag] })
      expect(next.way.mode).toBe('live')
      expect(next.lost).toMatchObject({ reason: 'owed', message: expect.stringContaining(path) })
      expect(next.entry.parent).toBeNull()
      await isRestored(tag, [some, few])
      await vm.fill(some)
      const child = await captureSnapshot(vm.machine, { store: world.store, mode: 'live' })
      expect([child.lost, child.entry.parent]).toEqual([null, next.entry.id])
    },
  )

  test('is sealed after its machine is gone', async () => {
    for (const freeze of ['copy', 'fork'] as const) {
      const tag = `gone-${round}-${freeze}`
      const vm = await boot()
      await vm.fill(some)
      const taken = await takeSnapshot(vm.machine, { store: world.store, mode: 'live', freeze, tags: [tag] })
      await vm[Symbol.asyncDispose]()
      await taken.seal()
      await isRestored(tag, [some])
    }
  })

  test('and whose copies grow beyond what they may take fails, and loses nothing', async () => {
    await using vm = await boot()
    await vm.fill(some)
    const taken = await takeSnapshot(vm.machine, {
      store: world.store,
      mode: 'live',
      freeze: 'fork',
      mostCopiedBytes: 2 ** 20,
    })
    await vm.fill({ ...many, seed: 9 }, some)
    expect(await failure(taken.seal())).toMatchObject({
      code: 'HOST_UNSUPPORTED',
      message: expect.stringContaining('more than 1048576'),
    })
    await nextIsRight(vm, [some])
  })
})

describe('no room', () => {
  const mib = 2 ** 20

  test('in the store: nothing is lost, and the guest goes on', async () => {
    const directory = world.path('small-store')
    mkdirSync(directory)
    await withTmpfs(directory, 24 * mib, async () => {
      const store = await openLocalStore(`${directory}/store`, { create: true })
      await using vm = await MicroVm.boot(place(), { memoryMib })
      const base = await captureSnapshot(vm.machine, { store, mode: 'live', tags: ['small'] })
      await vm.fill(many)
      const full = await failure(
        captureSnapshot(vm.machine, { store, mode: 'live', freeze: 'fork', tags: ['full'] }),
      )
      expect(full.code).toBe('WRITE_FAILED')
      expect((await vm.machine.info()).state).toBe('Running')
      expect(vm.machine.owed).toEqual({ from: base.entry.id })
      // In a store that does not have the base it is a base of its own.
      await nextIsRight(vm, [many])
    })
  })

  test('in the runtime directory: the guest goes on, and the next snapshot is right', async () => {
    const runtimeDirectory = world.path('small-run')
    mkdirSync(runtimeDirectory, { mode: 0o700 })
    await withTmpfs(runtimeDirectory, 8 * mib, async () => {
      await using vm = await MicroVm.boot({ ...place(), runtimeDirectory }, { memoryMib })
      await captureSnapshot(vm.machine, { store: world.store, mode: 'live' })
      await vm.fill(some)
      const fill = `${runtimeDirectory}/filled`
      for (const leftBytes of [0, 8192, 16_384, 32_768, 65_536]) {
        const { bavail, bsize } = statfsSync(runtimeDirectory)
        writeFileSync(fill, Buffer.alloc(Math.max(0, bavail * bsize - leftBytes)))
        await captureSnapshot(vm.machine, { store: world.store, mode: 'live' }).catch(() => {})
        expect((await vm.machine.info()).state).toBe('Running')
        rmSync(fill)
        await vm.fill(few)
      }
      const tag = `room-${round}`
      await captureSnapshot(vm.machine, { store: world.store, mode: 'live', tags: [tag] })
      await isRestored(tag, [some, few])
    })
  })
})

describe('a jailed machine', () => {
  test('is captured live', async () => {
    const chrootBaseDir = world.path('jail')
    mkdirSync(chrootBaseDir, { mode: 0o700 })
    const jailer = { uid: 12_345, gid: 12_345, chrootBaseDir }
    await using guest = await bootMicroGuest({ ...world.launch, memoryMib, jailer })
    const { machine, console } = guest
    for (const freeze of ['fork', 'copy', 'fork'] as const) {
      await console.fill(some.pattern, some.seed)
      const tag = `jailed-${round}-${freeze}`
      const { way } = await captureSnapshot(machine, {
        store: world.store,
        mode: 'live',
        freeze,
        tags: [tag],
      })
      expect(way.frozen?.how).toBe(freeze)
      await isRestored(tag, [some])
    }
    expect(readdirSync(machine.paths.directory).filter((name) => name.startsWith('live-'))).toEqual([])
  })

  test.each(['copy', 'fork'] as const)(
    'is sealed after it is gone, its memory taken by a %s',
    async (freeze) => {
      const chrootBaseDir = world.path(`jail-gone-${freeze}`)
      mkdirSync(chrootBaseDir, { mode: 0o700 })
      const jailer = { uid: 12_345, gid: 12_345, chrootBaseDir }
      const guest = await bootMicroGuest({ ...world.launch, memoryMib, jailer })
      await guest.console.fill(some.pattern, some.seed)
      // A base may not be copied.
      const options = { store: world.store, mode: 'live' } as const
      await captureSnapshot(guest.machine, options)
      await guest.console.fill(few.pattern, few.seed)
      const tag = `jail-gone-${freeze}`
      const taken = await takeSnapshot(guest.machine, { ...options, freeze, tags: [tag] })
      const frozen = guest.machine.frozen.filter(isAlive)
      expect(frozen.length).toBe(freeze === 'fork' ? 1 : 0)
      await guest[Symbol.asyncDispose]()
      expect(readdirSync(`${chrootBaseDir}/firecracker`)).toEqual([])
      await taken.seal()
      await isRestored(tag, [some, few])
      await untilTrue(() => !frozen.some(isAlive), 100)
    },
  )
})
