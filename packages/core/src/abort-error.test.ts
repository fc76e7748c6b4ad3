import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { abortError, throwIfAborted } from './abort-error.js'
import { VarveError } from './errors.js'

async function timedOut(): Promise<AbortSignal> {
  const signal = AbortSignal.timeout(1)
  await new Promise((done) => signal.addEventListener('abort', done))
  return signal
}

test('a signal that timed out is TIMEOUT, also through AbortSignal.any', async () => {
  const signal = await timedOut()
  for (const it of [signal, AbortSignal.any([new AbortController().signal, signal])])
    expect(abortError(it, 'the copy')).toMatchObject({
      code: 'TIMEOUT',
      exitCode: 5,
      message: "the copy did not end before the caller's signal timed out",
      details: { reason: expect.stringContaining('TimeoutError') },
      cause: signal.reason,
    })
})

test('any other abort is INTERRUPTED, with its reason in details', () => {
  const reason = new Error('the request was closed')
  expect(abortError(AbortSignal.abort(reason), 'the copy')).toMatchObject({
    code: 'INTERRUPTED',
    message: 'the copy was interrupted',
    cause: reason,
    details: { reason: 'Error: the request was closed' },
  })
  expect(abortError(AbortSignal.abort('enough'), 'x').details).toEqual({ reason: 'enough' })
  expect(abortError(AbortSignal.abort({ token: 'secret' }), 'x').details).toEqual({ reason: 'object' })
  expect(abortError(AbortSignal.abort(), 'x').code).toBe('INTERRUPTED')
})

test('an abort with an error of Varve keeps its code', () => {
  const ours = (code: 'TIMEOUT' | 'INTERRUPTED') => AbortSignal.abort(new VarveError(code, 'why'))
  expect(abortError(ours('TIMEOUT'), 'x').code).toBe('TIMEOUT')
  expect(abortError(ours('INTERRUPTED'), 'x').code).toBe('INTERRUPTED')
})

test('throwIfAborted throws only once the signal is aborted', () => {
  expect(() => throwIfAborted(undefined, 'x')).not.toThrow()
  expect(() => throwIfAborted(new AbortController().signal, 'x')).not.toThrow()
  expect(() => throwIfAborted(AbortSignal.abort(), 'x')).toThrow(/x was interrupted/)
})

test('these helpers alone make INTERRUPTED of signals, and NOT_FOUND of anything', () => {
  const packages = fileURLToPath(new URL('../..', import.meta.url))
  const found: string[] = []
  for (const name of ['core/src', 'cli/src', 'lab/src'])
    for (const file of readdirSync(join(packages, name), { recursive: true, encoding: 'utf8' })) {
      if (!file.endsWith('.ts') || file.endsWith('.test.ts')) continue
      const text = readFileSync(join(packages, name, file), 'utf8')
      if (/\('INTERRUPTED'|'NOT_FOUND' :|\w+Error\(\s*'NOT_FOUND'|\.throwIfAborted\(/.test(text))
        found.push(`${name}/${file}`)
    }
  expect(found.sort()).toEqual([
    // Ctrl-C itself.
    'cli/src/main.ts',
    'core/src/not-found.ts',
    // No signal, but a parent that has ended.
    'core/src/sys/parent-death.ts',
    // A transport ends with the signal's own reason; micro-console.ts makes an error of it.
    'lab/src/micro/console-transport.ts',
  ])
})
