import { expect, test } from 'vitest'
import { assertTag } from '../content/references.js'
import type { SnapshotEntry } from '../store/snapshot-types.js'
import { timeTag } from './time-tag.js'

const entry = (id: string, ...tags: string[]): SnapshotEntry => ({
  id,
  tags,
  parent: null,
  createdAt: '',
  manifest: { mediaType: '', digest: 'sha256:', size: 0 },
})
const now = new Date('2026-01-31T12:34:56.789Z')

test('a snapshot without a name has the name of its machine and the time', () => {
  expect(timeTag('web', [], now)).toBe('web-20260131-123456')
  expect(assertTag(timeTag('0'.repeat(32), [], now))).toBe(`${'0'.repeat(32)}-20260131-123456`)
})

test('two in one second do not take each other’s name', () => {
  const first = entry('a', 'base', 'web-20260131-123456')
  expect(timeTag('web', [first], now)).toBe('web-20260131-123456-2')
  expect(timeTag('web', [first, entry('b', 'web-20260131-123456-2')], now)).toBe('web-20260131-123456-3')
  expect(timeTag('db', [first], now)).toBe('db-20260131-123456')
})
