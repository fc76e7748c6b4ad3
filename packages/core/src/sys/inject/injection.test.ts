import { spawn } from 'node:child_process'
import {
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { isVarveError } from '../../errors.js'
import { errnoNumber } from '../libc.js'
import { killProcess, openPidfd } from '../pidfd.js'
import { isAlive, type ProcessIdentity, processIdentity } from '../proc.js'
import { giveDescriptors } from './inject-descriptors.js'
import { Injection } from './injection.js'
import { register, Tracee } from './ptrace.js'
import { SyscallTable } from './syscall-table.js'
import { systemCall } from './system-call.js'

const getpid = 39
const pageBytes = 4096

let sleeper: ProcessIdentity
let traced: Tracee | undefined

/** A process that is not a child of ours, as libuv waits for those. */
async function startDetached(command: string, args: readonly string[]): Promise<ProcessIdentity> {
  const start = `const [command, ...args] = process.argv.slice(1)
    const child = require('node:child_process').spawn(command, args, { detached: true, stdio: 'ignore' })
    child.once('spawn', () => { process.stdout.write(String(child.pid)); process.exit() })`
  const parent = spawn(process.execPath, ['-e', start, command, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let text = ''
  for await (const part of parent.stdout) text += String(part)
  const identity = processIdentity(Number(text))
  if (identity === undefined) throw new Error(`no process ${text}`)
  return identity
}

async function startSleeper(): Promise<ProcessIdentity> {
  const identity = await startDetached('sleep', ['60'])
  // In its sleep, and not in the dynamic linker any more.
  while (!stateOf(identity).startsWith('S')) await new Promise((resolve) => setTimeout(resolve, 2))
  return identity
}

const stateOf = ({ pid }: ProcessIdentity) =>
  /^State:\s*(\S)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? ''

function holdSleeper(): Tracee {
  traced = Tracee.seize(sleeper)
  traced.interrupt()
  expect(traced.wait()).toEqual({ kind: 'event', signal: 5 })
  return traced
}

/** Whether it stands behind a system call. */
const isBehindCall = (injection: Injection, registers: BigUint64Array): boolean =>
  injection.read(Number(registers[register.rip]) - 2, 2).toString('hex') === '0f05'

function letGo(): void {
  traced?.detach()
  traced = undefined
}

/** Gives the process the code that musl has, which a thread of ours ends by. */
function giveUnmapSelf(): void {
  const directory = mkdtempSync(join(tmpdir(), 'varve-injection-'))
  const code = openSync(join(directory, 'code'), 'wx+')
  writeSync(code, Buffer.from('b80b0000000f054831ffb83c0000000f05'.padEnd(2 * pageBytes, '0'), 'hex'))
  const pidfd = openPidfd(sleeper) as number
  const injection = Injection.begin(holdSleeper())
  const { numbers, toClose } = giveDescriptors(injection, pidfd, [code])
  injection.call('mmap', systemCall.mmap, [0, pageBytes, 5, 2, numbers[0] as number, 0])
  for (const fd of toClose) injection.call('close', systemCall.close, [fd])
  injection.end()
  letGo()
  for (const fd of [pidfd, code]) closeSync(fd)
  rmSync(directory, { recursive: true })
}

/** The tracee as it is, but for a pause between the end of its `clone` and its next instruction. */
function lateAfterClone(tracee: Tracee, pause: () => void): Tracee {
  const go: Tracee['go'] = (how, signal) => {
    if (how === 'on' && tracee.registers()[register.rax] === BigInt(systemCall.clone)) {
      for (const op of ['entry', 'exit']) {
        tracee.go('syscall')
        expect(tracee.wait()).toEqual({ kind: 'syscall' })
        expect(tracee.syscallInfo().op).toBe(op)
      }
      pause()
    }
    tracee.go(how, signal)
  }
  return new Proxy(tracee, {
    get: (target, name) => {
      const value: unknown = name === 'go' ? go : Reflect.get(target, name, target)
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}

const mapsOf = ({ pid }: ProcessIdentity) => readFileSync(`/proc/${pid}/maps`, 'utf8')

beforeEach(async () => {
  sleeper = await startSleeper()
})

afterEach(() => {
  killProcess(sleeper, 'SIGKILL')
  // A tracer must see the end first; init takes the rest.
  if (traced !== undefined) while (traced.wait().kind !== 'ended');
  traced = undefined
})

describe.skipIf(process.arch !== 'x64')('a process that is made to call', () => {
  test('does so in its own name, and sleeps on as if nothing had been', async () => {
    const maps = mapsOf(sleeper)
    const tracee = holdSleeper()
    const registers = tracee.registers()
    const injection = Injection.begin(tracee)
    expect(injection.call('getpid', getpid, [])).toBe(sleeper.pid)
    const table = new SyscallTable()
    for (let i = 0; i < 20_000; i++) table.add(getpid)
    table.add(systemCall.close, 12_345)
    injection.run(table)
    expect(table.result(0)).toBe(sleeper.pid)
    expect(table.result(19_999)).toBe(sleeper.pid)
    expect(table.result(20_000)).toBe(-errnoNumber.EBADF)
    injection.end()
    expect(tracee.registers()).toEqual(registers)
    letGo()
    expect(mapsOf(sleeper)).toBe(maps)
    await expect.poll(() => stateOf(sleeper)).toBe('S')
    expect(readFileSync(`/proc/${sleeper.pid}/status`, 'utf8')).toMatch(/^SigBlk:\s*0{16}$/m)
    expect(readFileSync(`/proc/${sleeper.pid}/status`, 'utf8')).toMatch(/^TracerPid:\s*0$/m)
  })

  test('maps a file that only we have open, without keeping a descriptor of it', () => {
    const directory = mkdtempSync(join(tmpdir(), 'varve-injection-'))
    const files = ['one', 'two', 'three'].map((name) => {
      writeFileSync(
        join(directory, name),
        Buffer.concat([Buffer.alloc(pageBytes), Buffer.from(`page of ${name}`)]),
      )
      return openSync(join(directory, name), 'r')
    })
    const descriptors = readdirSync(`/proc/${sleeper.pid}/fd`)
    const pidfd = openPidfd(sleeper) as number
    const injection = Injection.begin(holdSleeper())
    const { numbers, toClose } = giveDescriptors(injection, pidfd, files)
    expect(numbers.length).toBe(3)
    const at = injection.call('mmap', systemCall.mmap, [0, 3 * pageBytes, 3, 0x22, -1, 0])
    const table = new SyscallTable()
    // MAP_PRIVATE | MAP_FIXED, the second page of each file, last one first.
    numbers.forEach((fd, index) => {
      table.add(systemCall.mmap, at + (2 - index) * pageBytes, pageBytes, 3, 0x12, fd, pageBytes)
    })
    for (const fd of toClose) table.add(systemCall.close, fd)
    injection.run(table)
    expect(numbers.map((_, index) => table.result(index))).toEqual([at + 2 * pageBytes, at + pageBytes, at])
    expect(toClose.map((_, index) => table.result(3 + index))).toEqual([0, 0, 0, 0, 0])
    const text = (page: number) =>
      injection
        .read(at + page * pageBytes, 13)
        .toString()
        .replaceAll('\0', '')
    expect([text(0), text(1), text(2)]).toEqual(['page of three', 'page of two', 'page of one'])
    injection.end()
    letGo()
    expect(readdirSync(`/proc/${sleeper.pid}/fd`)).toEqual(descriptors)
    for (const fd of [pidfd, ...files]) closeSync(fd)
    rmSync(directory, { recursive: true })
  })

  test('takes signals that come meanwhile only afterwards', async () => {
    const injection = Injection.begin(holdSleeper())
    killProcess(sleeper, 'SIGTERM')
    expect(injection.call('getpid', getpid, [])).toBe(sleeper.pid)
    expect(stateOf(sleeper)).toBe('t')
    injection.end()
    letGo()
    await expect.poll(() => isAlive(sleeper)).toBe(false)
  })

  test('has calls made by a thread of its own, which leaves nothing behind', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'varve-injection-'))
    const counted = openSync(join(directory, 'counted'), 'wx+')
    const table = new SyscallTable()
    let injection = Injection.begin(holdSleeper())
    expect(injection.runBeside(table)).toEqual({
      thread: null,
      refused: 'is not linked with musl',
    })
    injection.end()
    letGo()
    giveUnmapSelf()
    const pidfd = openPidfd(sleeper) as number
    injection = Injection.begin(holdSleeper())
    const [countedThere = -1] = giveDescriptors(injection, pidfd, [counted]).numbers
    injection.end()
    letGo()
    const maps = mapsOf(sleeper)
    const ftruncate = 77
    for (let length = 1; length <= 20_000; length++) table.add(ftruncate, countedThere, length)
    injection = Injection.begin(holdSleeper())
    expect(injection.runBeside(table).thread).toBeGreaterThan(1)
    injection.end()
    letGo()
    await expect.poll(() => readdirSync(`/proc/${sleeper.pid}/task`)).toEqual([`${sleeper.pid}`])
    expect(fstatSync(counted).size).toBe(20_000)
    expect(mapsOf(sleeper)).toBe(maps)
    expect(stateOf(sleeper)).toBe('S')
    for (const fd of [pidfd, counted]) closeSync(fd)
    rmSync(directory, { recursive: true })
  })

  test('has left the memory of that thread before the thread unmaps it, however late it runs', async () => {
    giveUnmapSelf()
    const maps = mapsOf(sleeper)
    const tracee = holdSleeper()
    // The thread runs as soon as there is one; the process that made it stands still for that time.
    const threads = () => readdirSync(`/proc/${sleeper.pid}/task`).length
    let seen = false
    const late = lateAfterClone(tracee, () => {
      seen = threads() > 1
      const until = Date.now() + 500
      while (Date.now() < until && threads() > 1);
    })
    for (const calls of [1, 0, 300]) {
      const table = new SyscallTable()
      for (let call = 0; call < calls; call++) table.add(getpid)
      seen = false
      const injection = Injection.begin(late)
      expect(injection.runBeside(table).thread).toBeGreaterThan(1)
      expect(seen, 'the thread was there meanwhile').toBe(true)
      injection.end()
    }
    letGo()
    await expect.poll(threads).toBe(1)
    expect(mapsOf(sleeper)).toBe(maps)
    await expect.poll(() => stateOf(sleeper)).toBe('S')
  })

  test('is told of a call that fails, by name; and of its own end', () => {
    const injection = Injection.begin(holdSleeper())
    const failed = () => injection.call('mmap', systemCall.mmap, [1, 4096, 3, 0x12, -1, 0])
    expect(failed).toThrow(/mmap in process \d+ failed with E(BADF|INVAL)/)
    killProcess(sleeper, 'SIGKILL')
    try {
      injection.call('getpid', getpid, [])
      expect.unreachable()
    } catch (error) {
      expect(isVarveError(error)).toBe(true)
    }
  })
})

describe.skipIf(process.arch !== 'x64')('a process that is held wherever it is', () => {
  const busy = ['-c', 'i=0; while :; do i=$((i+1)); done']

  test('is made to call while it computes, and computes on', async () => {
    const running = await startDetached('sh', busy)
    try {
      let computed = 0
      for (let round = 0; round < 50; round++) {
        const tracee = Tracee.hold(running)
        const registers = tracee.registers()
        const injection = Injection.begin(tracee, { held: true })
        if (!isBehindCall(injection, registers)) computed++
        expect(injection.call('getpid', getpid, [])).toBe(running.pid)
        const table = new SyscallTable()
        table.add(getpid)
        injection.run(table)
        expect(table.result(0)).toBe(running.pid)
        injection.end()
        expect(tracee.registers()).toEqual(registers)
        tracee.detach()
      }
      expect(computed).toBeGreaterThan(40)
      expect(stateOf(running)).toBe('R')
    } finally {
      killProcess(running, 'SIGKILL')
    }
  })

  test('and was stopped is stopped again, also by a signal that comes meanwhile', async () => {
    for (const early of [true, false]) {
      if (early) {
        killProcess(sleeper, 'SIGSTOP')
        await expect.poll(() => stateOf(sleeper)).toBe('T')
      }
      const tracee = Tracee.hold(sleeper)
      const injection = Injection.begin(tracee, { held: true })
      if (!early) killProcess(sleeper, 'SIGSTOP')
      for (let call = 0; call < 3; call++) expect(injection.call('getpid', getpid, [])).toBe(sleeper.pid)
      injection.end()
      tracee.detach()
      await expect.poll(() => stateOf(sleeper)).toBe('T')
      killProcess(sleeper, 'SIGCONT')
      await expect.poll(() => stateOf(sleeper)).toBe('S')
    }
  })

  test('gets the signals that come meanwhile', async () => {
    const running = await startDetached('sh', busy)
    for (let round = 0; round < 200; round++) {
      killProcess(running, 'SIGWINCH')
      const tracee = Tracee.hold(running)
      Injection.begin(tracee, { held: true }).end()
      tracee.detach()
    }
    expect(isAlive(running)).toBe(true)
    killProcess(running, 'SIGTERM')
    try {
      Tracee.hold(running).detach()
    } catch (error) {
      // It came before the process stood still.
      expect((error as Error).message).toMatch(/ended \(signal 15\)|there is no process/)
    }
    await expect.poll(() => isAlive(running)).toBe(false)
  })

  test.each([
    ['before', true],
    ['while', false],
    ['after', true],
  ])('ends with its tracer only while it is made to call: %s it is', async (when, lives) => {
    // It executes instructions of its own at once, not only when a system call ends.
    const running = await startDetached('sh', busy)
    const module = join(import.meta.dirname, '../../../dist/testing.js')
    const hold = `const [module, held, when] = process.argv.slice(1)
      const { Injection, Tracee } = await import(module)
      const tracee = Tracee.hold(JSON.parse(held))
      if (when !== 'before') {
        const injection = Injection.begin(tracee, { held: true })
        injection.call('getpid', ${getpid}, [])
        if (when === 'after') injection.end()
      }
      process.stdout.write('held')
      setInterval(() => {}, 1000)`
    const args = [module, JSON.stringify(running), when]
    const tracer = spawn(process.execPath, ['--input-type=module', '-e', hold, ...args], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    await new Promise((resolve) => tracer.stdout.once('data', resolve))
    tracer.kill('SIGKILL')
    await new Promise((resolve) => tracer.once('exit', resolve))
    await sleep(50)
    expect(isAlive(running)).toBe(lives)
    killProcess(running, 'SIGKILL')
  })
})

describe.skipIf(process.arch !== 'x64')('a process', () => {
  test('that does not stand behind a system call is left as it is', () => {
    const maps = mapsOf(sleeper)
    const tracee = holdSleeper()
    const registers = tracee.registers()
    const elsewhere = registers.slice()
    elsewhere[register.rip] = (registers[register.rip] as bigint) + 1n
    tracee.setRegisters(elsewhere)
    expect(() => Injection.begin(tracee)).toThrow('the thread is in no state that is known')
    expect(tracee.registers()).toEqual(elsewhere)
    tracee.setRegisters(registers)
    letGo()
    expect(mapsOf(sleeper)).toBe(maps)
  })

  test('that is another one by now is not traced, nor one that has ended', () => {
    const other = { ...sleeper, startTime: sleeper.startTime + 1 }
    expect(() => Tracee.seize(other)).toThrow('there is no process')
    expect(readFileSync(`/proc/${sleeper.pid}/status`, 'utf8')).toMatch(/^TracerPid:\s*0$/m)
  })

  test('that is traced already is refused with what to do', () => {
    holdSleeper()
    try {
      Tracee.seize(sleeper)
      expect.unreachable()
    } catch (error) {
      expect(isVarveError(error, 'HOST_UNSUPPORTED')).toBe(true)
      expect((error as Error).message).toContain('not permitted')
    }
  })
})
