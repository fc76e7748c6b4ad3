import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { withUmask } from './umask.js'

const ofChild = () =>
  /^Umask:\s+(\d+)$/m.exec(execFileSync('cat', ['/proc/self/status'], { encoding: 'utf8' }))?.[1]

test('a child inherits the umask, and this process has its own again, also after a failure', () => {
  const before = process.umask()
  expect(withUmask(0o077, ofChild)).toBe('0077')
  expect(process.umask()).toBe(before)
  const fail = () => {
    throw new Error('failed')
  }
  expect(() => withUmask(0o077, fail)).toThrow('failed')
  expect(process.umask()).toBe(before)
})
