import { closeSync, openSync, readSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createEvent, raiseEvent } from './eventfd.js'
import { makeFifo } from './fifo.js'
import { Poller } from './poll.js'

test('an event polls readable from its raising until it is read, and says which one', () => {
  const [one, two] = [createEvent(), createEvent()]
  const poller = new Poller([one, two])
  expect(poller.wait(0)).toBe(0)
  expect([poller.readable(0), poller.readable(1)]).toEqual([false, false])
  raiseEvent(two)
  raiseEvent(two)
  expect(poller.wait(-1)).toBe(1)
  expect([poller.readable(0), poller.readable(1)]).toEqual([false, true])
  raiseEvent(one)
  expect(poller.wait(-1)).toBe(2)
  expect(poller.broken(0)).toBe(false)
  const counter = Buffer.alloc(8)
  expect(readSync(two, counter)).toBe(8)
  expect(counter.readBigUInt64LE()).toBe(2n)
  expect(poller.wait(-1)).toBe(1)
  expect([poller.readable(0), poller.readable(1)]).toEqual([true, false])
  closeSync(one)
  closeSync(two)
})

test('a wait that is over without an event says so', () => {
  const event = createEvent()
  expect(new Poller([event]).wait(5)).toBe(0)
  closeSync(event)
})

test('a hang-up and a closed descriptor count as readable and broken', () => {
  const path = join(tmpdir(), `varve-poll-${process.pid}`)
  makeFifo(path, 0o600)
  const both = openSync(path, 'r+')
  const reader = openSync(path, 'r')
  closeSync(both)
  rmSync(path)
  const closed = createEvent()
  closeSync(closed)
  const poller = new Poller([reader, closed])
  expect(poller.wait(-1)).toBe(2)
  expect([poller.readable(0), poller.broken(0)]).toEqual([true, true])
  expect([poller.readable(1), poller.broken(1)]).toEqual([true, true])
  closeSync(reader)
})
