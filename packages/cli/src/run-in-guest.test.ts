import { PassThrough, Writable } from 'node:stream'
import { type NativeAgent, nativeAgent } from '@varve/guest/testing'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { exitStatus, runInGuest } from './run-in-guest.js'

let native: NativeAgent
beforeAll(async () => {
  native = await nativeAgent()
})
afterAll(() => native[Symbol.asyncDispose]())

class Collected extends Writable {
  text = ''
  readonly rows = 30
  readonly columns = 100

  override _write(chunk: Buffer, _: string, done: () => void): void {
    this.text += chunk
    // Slowly, so that the command is faster.
    setTimeout(done, 1)
  }
}

async function run(argv: string[], { tty = false, input = '' } = {}) {
  const stdin = Object.assign(new PassThrough(), { raw: [] as boolean[] })
  const setRawMode = (raw: boolean) => stdin.raw.push(raw)
  stdin.end(input)
  const [stdout, stderr] = [new Collected(), new Collected()]
  const streams = { stdin: Object.assign(stdin, { setRawMode }), stdout, stderr }
  const status = await runInGuest(native.agent, argv, streams, { tty })
  return { status, stdout: stdout.text, stderr: stderr.text, raw: stdin.raw, destroyed: stdin.destroyed }
}

test('streams and exit status are the command’s', async () => {
  const command = ['sh', '-c', 'cat; echo oh >&2; exit 7']
  expect(await run(command, { input: 'in' })).toEqual({
    status: 7,
    stdout: 'in',
    stderr: 'oh\n',
    raw: [],
    destroyed: true,
  })
})

test('all of a long output comes through a slow reader', async () => {
  const { stdout } = await run(['sh', '-c', 'i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done'])
  expect(stdout.split('\n').slice(-2)).toEqual(['line 19999', ''])
})

test('on a terminal it has the size of ours, which is raw meanwhile', async () => {
  const { stdout, status, raw } = await run(['sh', '-c', 'test -t 0 && stty size'], { tty: true })
  expect([stdout.trim(), status, raw]).toEqual(['30 100', 0, [true, false]])
})

test('a command that does not read its input ends all the same', async () => {
  expect((await run(['true'], { input: 'x'.repeat(4 * 2 ** 20) })).status).toBe(0)
})

test('what a shell would say of how it ended', async () => {
  expect((await run(['sh', '-c', 'kill -9 $$'])).status).toBe(137)
  expect(exitStatus({ exitCode: null, signal: 'SIGKILL', timedOut: true, elapsedMs: 1 })).toBe(124)
})
