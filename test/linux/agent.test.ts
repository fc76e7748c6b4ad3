import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import {
  functionInput,
  guestAgent,
  inputNames,
  installFunction,
  invokeFunction,
  labFunctions,
} from '@varve/lab'
import { maxAgentBytes, maxAgentHeaderBytes } from '@varve/lab/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type NativeAgent, startNativeAgent } from '../support/native-agent.js'

/** The agent and the functions, run here by the guest's own Python: what needs no virtual machine. */

let native: NativeAgent
beforeAll(async () => {
  native = await startNativeAgent()
}, 600_000)
afterAll(async () => {
  await native?.[Symbol.asyncDispose]()
})
const agent = () => guestAgent(native.vsockPath)
const python = { runtime: 'python', file: 'f.py' } as const
const load = async (name: string, source: string) => {
  await agent().putFile(name, 'f.py', source)
  return await agent().start(name, python)
}

describe.each(labFunctions)('$name', (fn) => {
  test('answers right on A, B and 4×A', async () => {
    await installFunction(agent(), fn)
    const faults = []
    for (const name of inputNames) faults.push((await invokeFunction(agent(), fn, name)).fault)
    expect(faults).toEqual([null, null, null])
  })

  test('its answer to one input is wrong for another', async () => {
    const { output } = await invokeFunction(agent(), fn, 'b')
    expect(fn.fault(functionInput(fn, 'b'), output)).toBeNull()
    expect(fn.fault(functionInput(fn, 'a'), output)).toEqual(expect.any(String))
    expect(fn.fault(functionInput(fn, 'b'), output.subarray(0, output.length / 2))).toEqual(
      expect.any(String),
    )
  })
})

describe('a kept function', () => {
  test('keeps its state from call to call, and is listed with its calls', async () => {
    const { pid } = await load(
      'count',
      'n = 0\ndef handle(data):\n    global n\n    n += 1\n    return str(n)\n',
    )
    const outputs = []
    for (let i = 0; i < 3; i++) outputs.push((await agent().invoke('count')).output.toString())
    expect(outputs).toEqual(['1', '2', '3'])
    const row = { name: 'count', runtime: 'python', pid, invocations: 3, running: true }
    expect(await agent().list()).toContainEqual(row)
    const { functions, meminfoKib, vmstat } = await agent().memory()
    const [resident] = functions.filter(({ name }) => name === 'count').map(({ residentKib }) => residentKib)
    expect(resident).toBeGreaterThan(1000)
    expect(meminfoKib.MemTotal).toBeGreaterThan(resident as number)
    expect(vmstat.pgfault).toBeGreaterThan(0)
  })

  test('that is started anew is another process, and one that is stopped is gone', async () => {
    const first = await load('again', 'def handle(data): return b"one"\n')
    const second = await load('again', 'def handle(data): return b"two"\n')
    expect(first.pid).not.toBe(second.pid)
    expect((await agent().invoke('again')).output.toString()).toBe('two')
    await agent().stop('again')
    await expect(agent().invoke('again')).rejects.toMatchObject({ details: { agentCode: 'NO_FUNCTION' } })
    await expect(agent().stop('again')).rejects.toMatchObject({ details: { agentCode: 'NO_FUNCTION' } })
    expect(() => readFileSync(`/proc/${second.pid}/stat`)).toThrow('ENOENT')
  })

  test.each([
    ['does not parse', 'def', 'SyntaxError'],
    ['has no handle', 'x = 1', "KeyError: 'handle'"],
    ['raises while it is loaded', 'raise ValueError("no way")', 'no way'],
    ['ends while it is loaded', 'import os; print("bye", flush=True); os._exit(3)', 'bye'],
  ])('that %s is refused with the reason', async (_, source, words) => {
    await expect(load('bad', source)).rejects.toMatchObject({
      message: expect.stringContaining(words),
      details: { agentCode: 'START_FAILED' },
    })
    await expect(agent().invoke('bad')).rejects.toMatchObject({ details: { agentCode: 'NO_FUNCTION' } })
  })

  test('that raises says so, and goes on', async () => {
    await load('raises', 'def handle(data):\n    return {b"": "fine"}[data]\n')
    await expect(agent().invoke('raises', 'x')).rejects.toMatchObject({
      code: 'GUEST_PROTOCOL',
      message: expect.stringContaining('KeyError'),
      details: { agentCode: 'FUNCTION_FAILED' },
    })
    expect((await agent().invoke('raises')).output.toString()).toBe('fine')
  })

  test('may print what it likes', async () => {
    await load(
      'prints',
      'import os\ndef handle(data):\n    print("x" * 100000); os.write(1, b"y"); return data\n',
    )
    expect((await agent().invoke('prints', 'z')).output.toString()).toBe('z')
  })

  test('whose process ends in a call says so, in that call and in the next', async () => {
    await load(
      'ends',
      'import os, sys\ndef handle(data):\n    print("dying", file=sys.stderr, flush=True); os._exit(9)\n',
    )
    for (let i = 0; i < 2; i++)
      await expect(agent().invoke('ends')).rejects.toMatchObject({
        message: expect.stringMatching(/ended with 9: dying/),
        details: { agentCode: 'FUNCTION_ENDED' },
      })
    expect((await agent().list()).find(({ name }) => name === 'ends')?.running).toBe(false)
  })

  test('that takes too long is ended, though it reads no input', async () => {
    await load('slow', 'import time\ndef handle(data):\n    time.sleep(1000)\n')
    await expect(agent().invoke('slow', '', { timeoutMs: 1000 })).rejects.toMatchObject({
      details: { agentCode: 'FUNCTION_TIMEOUT' },
    })
  })

  test('takes and gives 16 MiB, and refuses to give more', async () => {
    await load('large', 'def handle(data): return data if data[:1] == b"x" else bytes(len(data) + 1)\n')
    const input = Buffer.alloc(maxAgentBytes, 'x')
    expect((await agent().invoke('large', input)).output.equals(input)).toBe(true)
    await expect(agent().invoke('large', Buffer.alloc(maxAgentBytes))).rejects.toMatchObject({
      details: { agentCode: 'TOO_LONG' },
    })
    expect((await agent().invoke('large', 'xy')).output.toString()).toBe('xy')
  })

  test('serves calls one after another, and other functions meanwhile', async () => {
    await load('queue', 'import time\ndef handle(data):\n    time.sleep(0.2); return str(time.monotonic())\n')
    await load('quick', 'def handle(data): return b"here"\n')
    const slow = Promise.all([1, 2, 3].map(() => agent().invoke('queue')))
    expect((await agent().invoke('quick')).output.toString()).toBe('here')
    const times = (await slow).map(({ output }) => Number(output)).sort((a, b) => a - b)
    expect((times[1] as number) - (times[0] as number)).toBeGreaterThan(0.19)
    expect((times[2] as number) - (times[1] as number)).toBeGreaterThan(0.19)
  })

  test('of Node may be asynchronous, and says why it does not load', async () => {
    await agent().putFile(
      'later',
      'f.mjs',
      `export const handle = async (data) => (await null, data + '!')\n`,
    )
    await agent().start('later', { runtime: 'node', file: 'f.mjs' })
    expect((await agent().invoke('later', 'hi')).output.toString()).toBe('hi!')
    await agent().putFile('later', 'f.mjs', 'export const handle = (data) => nothing\n')
    await agent().start('later', { runtime: 'node', file: 'f.mjs' })
    await expect(agent().invoke('later')).rejects.toMatchObject({
      message: expect.stringContaining('nothing is not defined'),
      details: { agentCode: 'FUNCTION_FAILED' },
    })
    await agent().putFile('later', 'f.mjs', 'export const other = 1\n')
    await expect(agent().start('later', { runtime: 'node', file: 'f.mjs' })).rejects.toMatchObject({
      message: expect.stringContaining('no function handle'),
      details: { agentCode: 'START_FAILED' },
    })
  })
})

describe('a program', () => {
  test('runs anew for each call, with its input and its output', async () => {
    await agent().put('upper', '#!/bin/sh\necho x >>count\nwc -l <count\ntr a-z A-Z\n')
    expect((await agent().invoke('upper', 'ab')).output.toString()).toBe('1\nAB')
    const { output, handlerMs } = await agent().invoke('upper', 'cd')
    expect({ output: output.toString(), handlerMs }).toEqual({ output: '2\nCD', handlerMs: null })
  })

  test('that fails is told with its status and its words', async () => {
    await agent().put('fails', '#!/bin/sh\necho it broke >&2\nexit 7\n')
    await expect(agent().invoke('fails')).rejects.toMatchObject({
      message: expect.stringContaining('exit status 7: it broke'),
      details: { agentCode: 'FUNCTION_FAILED' },
    })
  })

  test('that takes too long is ended with what it started', async () => {
    await agent().put('hangs', '#!/bin/sh\nsleep 1000 &\nsleep 1000\n')
    await expect(agent().invoke('hangs', '', { timeoutMs: 3000 })).rejects.toMatchObject({
      details: { agentCode: 'FUNCTION_TIMEOUT' },
    })
  })

  test('gives no more than 16 MiB', async () => {
    await agent().put('much', '#!/bin/sh\nhead -c 16777217 /dev/zero\n')
    await expect(agent().invoke('much')).rejects.toMatchObject({ details: { agentCode: 'TOO_LONG' } })
  })

  test('needs a file that is executable', async () => {
    await agent().putFile('plain', 'x', '#!/bin/sh\n')
    const start = (file: string) => agent().start('plain', { runtime: 'program', file })
    await expect(start('x')).rejects.toMatchObject({ details: { agentCode: 'START_FAILED' } })
    await expect(start('y')).rejects.toMatchObject({ details: { agentCode: 'START_FAILED' } })
  })
})

describe('the agent, of a peer that breaks the protocol', () => {
  const raw = (header: Buffer | string, body = Buffer.alloc(0)) => {
    const text = Buffer.from(header as string)
    const prefix = Buffer.alloc(8)
    prefix.writeUInt32LE(text.length, 0)
    prefix.writeUInt32LE(body.length, 4)
    return Buffer.concat([prefix, text, body])
  }
  const lengths = (header: number, body: number) => {
    const prefix = Buffer.alloc(8)
    prefix.writeUInt32LE(header, 0)
    prefix.writeUInt32LE(body, 4)
    return prefix
  }
  /** All that comes until the agent closes. */
  const toTheEnd = async (socket: Socket): Promise<string> => {
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    await once(socket, 'end')
    return Buffer.concat(chunks).toString('utf8')
  }

  test.each([
    ['a header beyond the cap', lengths(maxAgentHeaderBytes + 1, 0)],
    ['a body beyond the cap', lengths(2, maxAgentBytes + 1)],
    ['no header', lengths(0, 5)],
    ['a header that is no JSON', raw('{"op":')],
    ['a header that is no text', raw(Buffer.from([0xff, 0xfe, 0, 1]))],
    ['a header nested too deep', raw('['.repeat(60_000))],
    ['a header that is no object', raw('[1]')],
    ['no op', raw('{}')],
    ['an op that is no text', raw('{"op":["ping"]}')],
    ['a name that leads elsewhere', raw('{"op":"put","function":"../x","file":"f"}')],
    ['a name with a line behind it', raw('{"op":"put","function":"x\\n","file":"f"}')],
    ['a file that leads elsewhere', raw('{"op":"put","function":"x","file":"../f"}')],
    ['a hidden file', raw('{"op":"put","function":"x","file":".work"}')],
    [
      'a time of no time',
      raw('{"op":"start","function":"x","file":"f","runtime":"python","timeoutMs":true}'),
    ],
    ['an endless time', raw('{"op":"start","function":"x","file":"f","runtime":"python","timeoutMs":1e300}')],
    ['a clock beyond all times', raw('{"op":"fix-up","clockMs":99999999999999999}')],
    ['a host name that is none', raw('{"op":"fix-up","hostname":"a b"}')],
    ['too much entropy', raw('{"op":"fix-up","entropy":true}', Buffer.alloc(513))],
  ])('%s: BAD_REQUEST, and the connection is closed', async (_, bytes) => {
    const socket = await native.connect()
    socket.write(bytes)
    expect(await toTheEnd(socket)).toContain('"BAD_REQUEST"')
    await agent().ping()
  })

  test('another op is refused and the connection stays', async () => {
    const socket = await native.connect()
    socket.write(raw('{"op":"dance"}'))
    expect(String((await once(socket, 'data'))[0])).toContain('"UNKNOWN_OP"')
    socket.write(raw('{"op":"ping","more":[1]}'))
    expect(String((await once(socket, 'data'))[0])).toContain('varve-agent')
    socket.destroy()
  })

  test('a frame in pieces of one byte is a frame', async () => {
    const socket = await native.connect()
    for (const byte of raw('{"op":"ping"}')) socket.write(Buffer.from([byte]))
    expect(String((await once(socket, 'data'))[0])).toContain('varve-agent')
    socket.destroy()
  })

  test('connections that send half a frame, and one that leaves in a call, keep nobody waiting', async () => {
    await load('leaves', 'import time\ndef handle(data):\n    time.sleep(0.3); return b"still here"\n')
    const half = await Promise.all(Array.from({ length: 20 }, () => native.connect()))
    for (const socket of half) socket.write(lengths(100, 1000))
    const gone = await native.connect()
    gone.write(raw('{"op":"invoke","function":"leaves"}'))
    gone.destroy()
    expect((await agent().invoke('leaves')).output.toString()).toBe('still here')
    for (const socket of half) socket.destroy()
  })

  test('a 65th function and a 65th file are refused', async () => {
    const known = (await agent().list()).length
    const put = (name: string, file: string) => agent().putFile(name, file, '')
    for (let i = 0; i < 64; i++) await put('files', `f${i}`)
    await put('files', 'f0')
    await expect(put('files', 'f64')).rejects.toMatchObject({ details: { agentCode: 'BAD_REQUEST' } })
    const refused = []
    for (let i = known; i < 66; i++)
      refused.push(await put(`n${i}`, 'f').catch((error) => error.details.agentCode))
    expect(refused.at(-1)).toBe('BAD_REQUEST')
    await agent().ping()
  })
})
