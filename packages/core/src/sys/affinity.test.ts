import { readFileSync } from 'node:fs'
import { afterEach, expect, test } from 'vitest'
import { placeThread, threadCpus, threadId, threadsNamed } from './affinity.js'

const before = threadCpus(0)
afterEach(() => placeThread(0, before))

test('a thread runs where it is placed, and the kernel says so', () => {
  const cpu = before.at(-1) as number
  placeThread(threadId(), [cpu])
  expect(threadCpus(threadId())).toEqual([cpu])
  expect(readFileSync('/proc/thread-self/status', 'utf8')).toContain(`Cpus_allowed_list:\t${cpu}\n`)
})

test('a CPU that is not there is refused, and nothing is changed', () => {
  expect(() => placeThread(0, [8191])).toThrowError(
    expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining('CPU 8191') }),
  )
  expect(threadCpus(0)).toEqual(before)
})

test('threads are found by the begin of their name', () => {
  const own = readFileSync('/proc/self/comm', 'utf8').trim()
  expect(threadsNamed(process.pid, own)).toContain(process.pid)
  expect(threadsNamed(process.pid, 'no thread has this name')).toEqual([])
  expect(threadsNamed(2 ** 22 + 1, '')).toEqual([])
})
