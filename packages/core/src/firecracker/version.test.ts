import { describe, expect, test } from 'vitest'
import { apiAvailability, requireApi } from './api-availability.js'
import {
  compareFirecrackerVersions,
  isAvailable,
  parseFirecrackerVersion,
  requireAvailable,
} from './version.js'

const version = parseFirecrackerVersion

describe('versions', () => {
  test.each(['1.12.1', 'v1.12.1', 'Firecracker v1.12.1', 'Firecracker v1.12.1-dev'])('%s is read', (text) => {
    expect(version(text)).toEqual({ major: 1, minor: 12, patch: 1 })
  })

  test.each(['', '1.12', 'one', 'v1.x.2', `${'9'.repeat(20)}.1.1`])('%j is refused', (text) => {
    expect(() => version(text)).toThrow('no Firecracker version')
  })

  test('are ordered by number, not by text', () => {
    const sorted = ['1.10.1', '1.9.0', '1.16.0', '2.0.0', '1.10.0']
      .map(version)
      .sort(compareFirecrackerVersions)
    expect(sorted.map(({ major, minor, patch }) => `${major}.${minor}.${patch}`)).toEqual([
      '1.9.0',
      '1.10.0',
      '1.10.1',
      '1.16.0',
      '2.0.0',
    ])
  })
})

describe('availability', () => {
  const backPorted = { since: ['1.14.4', '1.15.1', '1.16.0'] }

  test.each([
    ['1.13.9', false],
    ['1.14.3', false],
    ['1.14.4', true],
    ['1.15.0', false],
    ['1.15.1', true],
    ['1.16.0', true],
    ['1.17.0', true],
    ['2.0.0', true],
  ])('a back-port counts within its own series: %s %s', (text, expected) => {
    expect(isAvailable(backPorted, version(text))).toBe(expected)
  })

  test('what was removed is gone from there on', () => {
    const removed = { since: ['1.0.0'], until: '1.6.0' }
    expect(isAvailable(removed, version('1.5.9'))).toBe(true)
    expect(isAvailable(removed, version('1.6.0'))).toBe(false)
    expect(() => requireAvailable('field version', removed, version('1.6.0'))).toThrow('gone in 1.6.0')
  })

  test.each(Object.entries(apiAvailability))(
    '%s is refused below its first version and allowed at its last',
    (key, { since }) => {
      const [method, path, field] = key.split(' ')
      const call = `${method} ${path}`
      const body = field === undefined ? undefined : { [field]: true }
      const first = version(since[0] as string)
      const before =
        first.patch > 0
          ? { ...first, patch: first.patch - 1 }
          : { ...first, minor: first.minor - 1, patch: 99 }
      expect(() => requireApi(call, body, before)).toThrow(since[0] as string)
      if (field !== undefined)
        expect(() => requireApi(call, { [field]: undefined }, version('1.16.0'))).not.toThrow()
      expect(() => requireApi(call, body, version(since.at(-1) as string))).not.toThrow()
    },
  )
})
