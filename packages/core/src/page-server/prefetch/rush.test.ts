import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Rush, waitOutRush } from './rush.js'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

const setUp = () => {
  const rush = new Rush({ cpus: 2, now: () => Date.now() })
  const isOn = () => rush.shared[0] === 1
  const joinEach = (vms: readonly number[]) => {
    for (const vm of vms) rush.join(vm)
  }
  return { rush, isOn, joinEach }
}

test('as many VMs as CPUs are no rush, however often each joins', () => {
  const { isOn, joinEach } = setUp()
  joinEach([1, 2, 1, 2])
  expect(isOn()).toBe(false)
})

test('one more is a rush, until none has come for 40 ms', () => {
  const { rush, isOn, joinEach } = setUp()
  joinEach([1, 2, 3])
  expect(isOn()).toBe(true)
  vi.advanceTimersByTime(39)
  rush.join(1)
  vi.advanceTimersByTime(39)
  expect(isOn()).toBe(true)
  vi.advanceTimersByTime(1)
  expect(isOn()).toBe(false)
  // The next ones begin anew.
  joinEach([4, 5])
  expect(isOn()).toBe(false)
})

test('restores that only look for the server count, and not once more when their VMs join', () => {
  const { rush, isOn, joinEach } = setUp()
  rush.expect()
  rush.expect()
  joinEach([1, 2])
  expect(isOn()).toBe(false)
  rush.expect()
  expect(isOn()).toBe(true)
})

test('VMs one after the other, each 40 ms after the last, are no rush', () => {
  const { rush, isOn } = setUp()
  for (let vm = 0; vm < 10; vm++) {
    rush.join(vm)
    vi.advanceTimersByTime(40)
    expect(isOn()).toBe(false)
  }
})

test('if VMs never cease to come, sets have their time all the same', () => {
  const { rush, isOn } = setUp()
  const held: boolean[] = []
  for (let vm = 0; vm < 200; vm++) {
    rush.join(vm)
    vi.advanceTimersByTime(10)
    held.push(isOn())
  }
  expect(held.slice(3, 20).every((on) => on)).toBe(true)
  const share = held.filter((on) => on).length / held.length
  expect(share).toBeGreaterThan(0.3)
  expect(share).toBeLessThan(0.6)
})

test('a thread waits until the rush is over, or its VM has ended', () => {
  const word = new Int32Array(new SharedArrayBuffer(4))
  let looks = 0
  const halted = () => ++looks === 3
  waitOutRush(word, halted)
  expect(looks).toBe(0)
  word[0] = 1
  waitOutRush(word, halted)
  expect(looks).toBe(3)
  looks = -10
  waitOutRush(word, () => {
    if (++looks === 0) word[0] = 0
    return false
  })
  expect(looks).toBe(0)
})
