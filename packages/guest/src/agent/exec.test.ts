import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type NativeAgent, nativeAgent } from './agent-fixture.js'
import { frameKind } from './bounds.js'
import { commandFields } from './command.js'
import { encodeFrame, FrameReader, preamble, preambleBytes } from './frames.js'
import { encodeRequest } from './request.js'

/** The client against the real agent. */
let native: NativeAgent
beforeAll(async () => {
  native = await nativeAgent()
})
afterAll(async () => {
  await native[Symbol.asyncDispose]()
})

const isRoot = process.getuid?.() === 0
const sh = (script: string, options = {}) => native.agent.exec(['sh', '-c', script], options)
const textOf = async (stream: AsyncIterable<Buffer>) => {
  let text = ''
  for await (const chunk of stream) text += chunk.toString()
  return text
}

/** Reads on until `wanted` has come. */
async function until(chunks: AsyncIterator<Buffer>, wanted: string): Promise<string> {
  let text = ''
  while (!text.includes(wanted)) {
    const { value, done } = await chunks.next()
    if (done) break
    text += value.toString()
  }
  return text
}

/** Processes whose command line has this word. */
const processesWith = (word: string): number =>
  readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(word)
    } catch {
      return false
    }
  }).length

async function gone(word: string): Promise<void> {
  for (let tries = 0; processesWith(word) > 0; tries++) {
    if (tries === 200) throw new Error(`processes with ${word} still run`)
    await sleep(10)
  }
}

describe('exec', () => {
  test('gives output, errors and status apart', async () => {
    const result = await sh('echo out; echo err >&2; exit 7')
    expect(result).toMatchObject({ exitCode: 7, signal: null, timedOut: false })
    expect([result.stdout.toString(), result.stderr.toString()]).toEqual(['out\n', 'err\n'])
    expect(result.elapsedMs).toBeGreaterThan(0)
  })

  test('passes arguments, environment, folder and input on as they are', async () => {
    const weird = ['a b', '', '$HOME', '\'"', 'ü\n', '-n']
    const { stdout } = await native.agent.exec(['printf', '%s|', ...weird])
    expect(stdout.toString()).toBe(`${weird.join('|')}|`)
    const result = await sh('pwd; echo "$X|$PATH|$HOME"; cat', {
      env: { X: 'y=z', PATH: '/usr/bin:/bin' },
      cwd: '/tmp',
      input: 'in\0put',
    })
    expect(result.stdout.toString()).toBe(`/tmp\ny=z|/usr/bin:/bin|/root\nin\0put`)
  })

  test('tells who was ended by a signal', async () => {
    expect(await sh('kill -TERM $$')).toMatchObject({ exitCode: null, signal: 'SIGTERM' })
  })

  test.runIf(isRoot)('runs as a user, by name and by number', async () => {
    const { stdout } = await native.agent.exec(['sh', '-c', 'id -un; id -gn; echo $HOME'], { user: 'daemon' })
    expect(stdout.toString()).toBe('daemon\ndaemon\n/usr/sbin\n')
    const ids = await native.agent.exec(['sh', '-c', 'id -u; id -g'], { user: '4321:1234' })
    expect(ids.stdout.toString()).toBe('4321\n1234\n')
    const other = await native.agent.exec(['id', '-gn'], { user: 'daemon:games' })
    expect(other.stdout.toString()).toBe('games\n')
  })

  test.each([
    ['a program that is not there', ['/no/such'], {}, 'SPAWN_FAILED', 2],
    ['a file that is no program', ['/etc/passwd'], {}, 'SPAWN_FAILED', 13],
    ['a folder that is not there', ['true'], { cwd: '/no/such' }, 'SPAWN_FAILED', 2],
    ['a user that is not there', ['true'], { user: 'nosuchuser' }, 'NO_USER', undefined],
  ])('refuses %s', async (_, argv, options, agentCode, errno) => {
    await expect(native.agent.exec(argv, options)).rejects.toMatchObject({
      code: 'GUEST_REFUSED',
      details: { agentCode, ...(errno === undefined ? {} : { errno }) },
    })
  })

  test('refuses what cannot be sent', async () => {
    const wrong: [string[], object][] = [
      [[], {}],
      [['a\0b'], {}],
      [Array(1025).fill('x'), {}],
      [['x'.repeat(70_000)], {}],
      [['true'], { env: { 'A=B': '' } }],
      [['true'], { timeoutMs: 0 }],
      [['true'], { user: '' }],
    ]
    for (const [argv, options] of wrong)
      await expect(native.agent.exec(argv, options)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  test('an interactive command answers line by line', async () => {
    await using command = await native.agent.start(['cat'])
    const chunks = command.stdout[Symbol.asyncIterator]()
    for (const line of ['one', 'two']) {
      await command.stdin.write(line)
      expect((await chunks.next()).value?.toString()).toBe(line)
    }
    await command.stdin.end()
    expect((await chunks.next()).done).toBe(true)
    expect((await command.result).exitCode).toBe(0)
  })

  test('signals reach the whole process group', async () => {
    await using command = await native.agent.start([
      'sh',
      '-c',
      'trap "echo got; exit 5" USR1; echo up; sleep 100 & wait',
    ])
    const chunks = command.stdout[Symbol.asyncIterator]()
    expect((await chunks.next()).value?.toString()).toBe('up\n')
    command.kill('SIGUSR1')
    expect((await chunks.next()).value?.toString()).toBe('got\n')
    expect((await command.result).exitCode).toBe(5)
  })

  test('the time limit kills the whole group, and what was written before comes', async () => {
    const result = await sh('echo before; sleep 98761 & sleep 98761; echo after', { timeoutMs: 300 })
    expect(result).toMatchObject({ timedOut: true, signal: 'SIGKILL' })
    expect(result.stdout.toString()).toBe('before\n')
    await gone('98761')
  })

  test('what a command leaves behind in its group is killed at its end', async () => {
    const result = await sh('sleep 98762 & echo done')
    expect(result.stdout.toString()).toBe('done\n')
    await gone('98762')
  })

  test('a process that left the group keeps nothing waiting', async () => {
    const start = performance.now()
    const result = await sh('setsid sleep 3 & sleep 0.3; echo done')
    expect(result.stdout.toString()).toBe('done\n')
    expect(performance.now() - start).toBeLessThan(2500)
  })

  test('nor does one that fills the pipe again while a slow reader takes less than what is in it', async () => {
    const script = 'setsid timeout 20 dd if=/dev/zero bs=64k 2>/dev/null & sleep 0.3'
    const socket = connect(native.address.path)
    socket.write(Buffer.concat([preamble(), encodeRequest('exec', commandFields(['sh', '-c', script], {}))]))
    const credit = Buffer.alloc(4)
    credit.writeUInt32LE(16_384)
    const reader = new FrameReader()
    let greeted = 0
    const start = performance.now()
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      const kinds: number[] = []
      reader.push(chunk.subarray(Math.max(0, preambleBytes - greeted)), (kind) => kinds.push(kind))
      greeted += chunk.length
      if (kinds.includes(frameKind.result)) break
      await sleep(5)
      socket.write(encodeFrame(frameKind.credit, 1, credit))
    }
    expect(performance.now() - start).toBeLessThan(10_000)
  }, 30_000)

  test('a time limit that passes while the output of an ended command is read did not end it', async () => {
    // More than the host’s window, and less than that and a pipe.
    await using command = await native.agent.start(['head', '-c', '300000', '/dev/zero'], { timeoutMs: 500 })
    await sleep(1_000)
    expect(await textOf(command.stdout)).toHaveLength(300_000)
    expect(await command.result).toMatchObject({ exitCode: 0, timedOut: false })
  })

  test('giving a command up kills it', async () => {
    const command = await native.agent.start(['sh', '-c', 'sleep 98763 & sleep 98763'])
    await command[Symbol.asyncDispose]()
    await expect(command.result).rejects.toMatchObject({ code: 'INTERRUPTED' })
    await gone('98763')
  })

  test('a connection that ends right behind its request leaves no command', async () => {
    const request = encodeRequest('exec', commandFields(['sleep', '98765'], {}))
    for (let n = 0; n < 1_000; n++) {
      const socket = connect(native.address.path)
      socket.write(Buffer.concat([preamble(), request]))
      await once(socket, 'data')
      socket.destroy()
    }
    await gone('98765')
  }, 60_000)

  test('an abort signal ends a command', async () => {
    const controller = new AbortController()
    const pending = sh('sleep 98764', { signal: controller.signal })
    setTimeout(() => controller.abort(), 200)
    await expect(pending).rejects.toMatchObject({ code: 'INTERRUPTED' })
    await gone('98764')
  })

  test('200 MB of output with a slow reader: both sides keep little', async () => {
    const bytes = 200_000_000
    await using command = await native.agent.start(['head', '-c', String(bytes), '/dev/zero'])
    const before = process.memoryUsage().rss
    let got = 0
    let turns = 0
    let most = 0
    for await (const chunk of command.stdout) {
      got += chunk.length
      if (turns++ % 256 === 0) {
        await sleep(5)
        most = Math.max(most, process.memoryUsage().rss - before)
      }
    }
    expect(got).toBe(bytes)
    expect(await command.result).toMatchObject({ exitCode: 0 })
    expect(most).toBeLessThan(100_000_000)
    expect(native.residentBytes()).toBeLessThan(1024 * 1024)
  }, 60_000)

  test('a stream that is not read stops neither the other stream nor other calls', async () => {
    await using command = await native.agent.start([
      'sh',
      '-c',
      'head -c 10000000 /dev/zero >&2 & echo one; cat; kill %1; wait',
    ])
    const chunks = command.stdout[Symbol.asyncIterator]()
    expect((await chunks.next()).value?.toString()).toBe('one\n')
    await sleep(200)
    expect((await sh('echo other')).stdout.toString()).toBe('other\n')
    await command.stdin.write('two')
    expect((await chunks.next()).value?.toString()).toBe('two')
  })

  test('50 MB through standard input and back', async () => {
    const piece = Buffer.alloc(1_000_000, 'varve ')
    await using command = await native.agent.start(['cat'])
    const sent = (async () => {
      for (let n = 0; n < 50; n++) await command.stdin.write(piece)
      await command.stdin.end()
    })()
    let got = 0
    for await (const chunk of command.stdout) got += chunk.length
    await sent
    expect(got).toBe(50_000_000)
  }, 30_000)

  test('input that is not read costs little, and does not keep a command from ending', async () => {
    await using command = await native.agent.start(['sleep', '0.5'])
    await command.stdin.write(Buffer.alloc(10_000_000))
    expect((await command.result).exitCode).toBe(0)
  })

  test('a reader that leaves early ends the writer', async () => {
    await using command = await native.agent.start(['yes'])
    for await (const chunk of command.stdout) {
      expect(chunk.length).toBeGreaterThan(0)
      break
    }
    expect((await command.result).signal).toBe('SIGPIPE')
  })

  test('50 calls at once', async () => {
    const results = await Promise.all(
      Array.from({ length: 50 }, (_, n) => sh(`head -c ${100_000 + n} /dev/zero; sleep 0.2`)),
    )
    expect(results.map(({ stdout }) => stdout.length)).toEqual(
      Array.from({ length: 50 }, (_, n) => 100_000 + n),
    )
  }, 30_000)

  test('more calls than the agent serves at once wait their turn', async () => {
    const results = await Promise.all(Array.from({ length: 150 }, (_, n) => sh(`echo ${n}; sleep 0.1`)))
    expect(results.map(({ stdout }) => stdout.toString().trim())).toEqual(results.map((_, n) => String(n)))
  }, 60_000)
})

describe('exec on a terminal', () => {
  test('has the size that it is given, and learns of a new one', async () => {
    await using command = await native.agent.start(
      ['sh', '-c', 'trap "stty size; exit" WINCH; stty size; while :; do sleep 0.05; done'],
      {
        tty: { rows: 24, columns: 80 },
      },
    )
    const chunks = command.stdout[Symbol.asyncIterator]()
    expect((await chunks.next()).value?.toString()).toBe('24 80\r\n')
    command.resize(50, 132)
    expect((await chunks.next()).value?.toString()).toBe('50 132\r\n')
    expect((await command.result).exitCode).toBe(0)
  })

  test('Ctrl-C typed interrupts, and the end of the input is Ctrl-D', async () => {
    await using command = await native.agent.start(
      ['sh', '-c', 'trap "echo int; exit 4" INT; echo up; while :; do sleep 0.05; done'],
      {
        tty: { rows: 24, columns: 80 },
      },
    )
    const chunks = command.stdout[Symbol.asyncIterator]()
    expect((await chunks.next()).value?.toString()).toContain('up')
    await command.stdin.write('\u0003')
    expect(await until(chunks, 'int')).toContain('^Cint\r\n')
    expect((await command.result).exitCode).toBe(4)
    await using second = await native.agent.start(['cat'], { tty: { rows: 24, columns: 80 } })
    await second.stdin.write('line\n')
    await second.stdin.end()
    expect(await textOf(second.stdout)).toBe('line\r\nline\r\n')
    expect((await second.result).exitCode).toBe(0)
  })

  test('the end of the input is Ctrl-D behind as much input as the agent keeps, too', async () => {
    await using command = await native.agent.start(['cat'], { tty: { rows: 24, columns: 80 } })
    const text = textOf(command.stdout)
    await command.stdin.write(`${'x'.repeat(63)}\n`.repeat(512))
    await command.stdin.end()
    expect(await text).toHaveLength(2 * 512 * 65)
    expect((await command.result).exitCode).toBe(0)
  })

  test('a shell’s background jobs, which have groups of their own, end with it', async () => {
    await using command = await native.agent.start(
      ['bash', '-i', '-m', '-c', 'sleep 98765 & echo up; exit 0'],
      {
        tty: { rows: 24, columns: 80 },
      },
    )
    await textOf(command.stdout)
    await command.result
    await gone('98765')
  })
})

test('ping says who answers', async () => {
  expect(await native.agent.ping()).toMatchObject({ agent: '1', pid: native.pid })
})

test('the memory report is the guest’s', async () => {
  const { meminfoKib, vmstat, functions } = await native.agent.memory()
  expect(meminfoKib.MemTotal).toBeGreaterThan(100_000)
  expect(vmstat.pgfault).toBeGreaterThan(0)
  expect(functions).toEqual([])
})
