import { expect, test } from 'vitest'
import { Spin, spinMs } from './spin.js'

function spin({ cpus = 2, runnable = 2 } = {}) {
  const clock = { ms: 1000 }
  const load = { runnable, looks: 0 }
  const it = new Spin(
    Int32Array.of(cpus),
    () => {
      load.looks++
      return load.runnable
    },
    () => clock.ms,
  )
  /** A fault that comes after so long and is answered at once. */
  const faultAfter = (ms: number) => {
    clock.ms += ms
    it.asked()
    it.answered()
  }
  return { it, clock, load, faultAfter }
}

test('the thread looks on after a fault that came soon after the last, and sleeps when none comes', () => {
  const { it, clock, faultAfter } = spin()
  faultAfter(50)
  expect(it.goesOn()).toBe(false)
  faultAfter(spinMs / 2)
  expect(it.goesOn()).toBe(true)
  clock.ms += spinMs / 2
  expect(it.goesOn()).toBe(true)
  clock.ms += spinMs
  expect(it.goesOn()).toBe(false)
})

test('faults that come late are slept for', () => {
  const { it, faultAfter } = spin()
  for (let fault = 0; fault < 10; fault++) {
    faultAfter(spinMs * 2)
    expect(it.goesOn()).toBe(false)
  }
})

test('the one CPU that the guest may need is left to it', () => {
  const { it, faultAfter } = spin({ cpus: 1 })
  faultAfter(1)
  faultAfter(spinMs / 2)
  expect(it.goesOn()).toBe(false)
})

test('nothing is looked for while more threads want to run than there are CPUs', () => {
  const { it, load, faultAfter } = spin({ runnable: 3 })
  faultAfter(1)
  faultAfter(spinMs / 2)
  expect(it.goesOn()).toBe(false)
  load.runnable = 2
  // The load is not asked for at each fault.
  for (let ms = 0; ms < 3; ms += spinMs / 2) faultAfter(spinMs / 2)
  expect(load.looks).toBe(1)
  for (let ms = 0; ms < 2; ms += spinMs / 2) faultAfter(spinMs / 2)
  expect(it.goesOn()).toBe(true)
})
