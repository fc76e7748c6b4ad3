import { dirname, join } from 'node:path'
import { type NativeAgent, nativeAgent } from '@varve/guest/testing'
import {
  functionInput,
  type InstallOptions,
  inputNames,
  installFunction,
  invokeFunction,
  labFunctions,
} from '@varve/lab'
import { libraryFolders, pythonPackages } from '@varve/lab/testing'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

/** The functions, run here by the agent and the guest's own Python: what needs no virtual machine. */

let native: NativeAgent
let options: InstallOptions
beforeAll(async () => {
  const unpacked = await pythonPackages()
  native = await nativeAgent()
  options = {
    folder: native.directory,
    env: {
      PATH: `${join(unpacked, 'usr/bin')}:${dirname(process.execPath)}:/usr/bin:/bin`,
      LC_ALL: 'C',
      PYTHONHOME: join(unpacked, 'usr'),
      PYTHONDONTWRITEBYTECODE: '1',
      LD_LIBRARY_PATH: libraryFolders(unpacked).join(':'),
    },
  }
}, 600_000)
afterAll(async () => {
  await native?.[Symbol.asyncDispose]()
})
const load = (name: string, source: string, runtime: 'python' | 'node' = 'python') =>
  installFunction(native.agent, { name, runtime, source }, options)
const invoke = async (name: string, input: string | Buffer = '') =>
  String((await native.agent.functions.invoke(name, input)).output)

describe.each(labFunctions)('$name', (fn) => {
  test('answers right on A, B and 4×A', async () => {
    await installFunction(native.agent, fn, options)
    const faults = []
    for (const name of inputNames) faults.push((await invokeFunction(native.agent, fn, name)).fault)
    expect(faults).toEqual([null, null, null])
  })

  test('its answer to one input is wrong for another', async () => {
    const { output } = await invokeFunction(native.agent, fn, 'b')
    expect(fn.fault(functionInput(fn, 'b'), output)).toBeNull()
    expect(fn.fault(functionInput(fn, 'a'), output)).toEqual(expect.any(String))
    expect(fn.fault(functionInput(fn, 'b'), output.subarray(0, output.length / 2))).toEqual(
      expect.any(String),
    )
  })
})

const refused = (agentCode: string, words: string) => ({
  code: 'GUEST_REFUSED',
  message: expect.stringContaining(words),
  details: expect.objectContaining({ agentCode }),
})

describe('a function of Python', () => {
  test('keeps its state from call to call, and is loaded anew if it is installed again', async () => {
    const count = 'n = 0\ndef handle(data):\n    global n\n    n += 1\n    return str(n)\n'
    const first = await load('count', count)
    expect([await invoke('count'), await invoke('count')]).toEqual(['1', '2'])
    const second = await load('count', count)
    expect(second.pid).not.toBe(first.pid)
    expect(await invoke('count')).toBe('1')
  })

  test.each([
    ['does not parse', 'def', 'SyntaxError'],
    ['has no handle', 'x = 1', "KeyError: 'handle'"],
    ['raises while it is loaded', 'raise ValueError("no way")', 'no way'],
    ['ends while it is loaded', 'import os; print("bye", flush=True); os._exit(3)', 'bye'],
  ])('that %s is refused with the reason', async (_, source, words) => {
    await expect(load('bad', source)).rejects.toMatchObject(refused('START_FAILED', words))
    await expect(invoke('bad')).rejects.toMatchObject({ details: { agentCode: 'NO_FUNCTION' } })
  })

  test('that raises says so, and goes on', async () => {
    await load('raises', 'def handle(data):\n    return {b"": "fine"}[data]\n')
    await expect(invoke('raises', 'x')).rejects.toMatchObject(refused('FUNCTION_FAILED', 'KeyError'))
    expect(await invoke('raises')).toBe('fine')
  })

  test('may print what it likes', async () => {
    const source = 'import os\ndef handle(data):\n    print("x" * 100000); os.write(1, b"y"); return data\n'
    await load('prints', source)
    expect(await invoke('prints', 'z')).toBe('z')
  })

  test('takes and gives 16 MiB', async () => {
    await load('large', 'def handle(data): return data\n')
    const input = Buffer.alloc(16 * 2 ** 20, 'large ')
    expect((await native.agent.functions.invoke('large', input)).output.equals(input)).toBe(true)
  })
})

describe('a function of Node', () => {
  test('may be asynchronous', async () => {
    await load('later', `export const handle = async (data) => (await null, data + '!')\n`, 'node')
    expect(await invoke('later', 'hi')).toBe('hi!')
  })

  test('says why it fails, and why it does not load', async () => {
    await load('later', 'export const handle = (data) => nothing\n', 'node')
    const failure = refused('FUNCTION_FAILED', 'nothing is not defined')
    await expect(invoke('later')).rejects.toMatchObject(failure)
    const without = load('later', 'export const other = 1\n', 'node')
    await expect(without).rejects.toMatchObject(refused('START_FAILED', 'no function handle'))
  })
})
