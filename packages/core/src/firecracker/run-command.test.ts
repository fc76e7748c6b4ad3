import { expect, test } from 'vitest'
import { runCommand } from './run-command.js'

const node = (script: string, ...args: string[]) => ['-e', script, ...args]

test('gives standard output; arguments reach the program as they are', async () => {
  const odd = ['$HOME; exit 1', '*', 'a b', '"']
  const script = 'process.stdout.write(JSON.stringify(process.argv.slice(1)))'
  expect(JSON.parse(await runCommand(process.execPath, node(script, ...odd)))).toEqual(odd)
})

test('a failure carries the last lines of standard error', async () => {
  const script = 'for (const line of [1, 2, 3, 4]) console.error("line " + line); process.exit(3)'
  const failing = runCommand(process.execPath, node(script))
  await expect(failing).rejects.toMatchObject({ code: 'HOST_UNSUPPORTED' })
  await expect(failing).rejects.toThrow(/failed: line 2 line 3 line 4$/)
})

test('a program that is not there says so', async () => {
  await expect(runCommand('/nowhere/varve-no-program', [])).rejects.toMatchObject({
    code: 'HOST_UNSUPPORTED',
    message: expect.stringContaining('ENOENT'),
  })
})

test('a program that does not end is ended', async () => {
  const forever = node('process.on("SIGTERM", () => {}); setInterval(() => {}, 1000)')
  await expect(runCommand(process.execPath, forever, { timeoutMs: 300 })).rejects.toMatchObject({
    code: 'TIMEOUT',
    message: expect.stringContaining('300 ms'),
  })
})

test('an abort ends the program', async () => {
  const aborter = new AbortController()
  const running = runCommand(process.execPath, node('setInterval(() => {}, 1000)'), {
    signal: aborter.signal,
  })
  setImmediate(() => aborter.abort(new Error('enough')))
  await expect(running).rejects.toMatchObject({ code: 'INTERRUPTED', cause: new Error('enough') })
})
