import type { SnapshotEntry } from 'varve'
import { assertTag } from 'varve'
import { expect, test } from 'vitest'
import { movedTags, timeTag } from './tags.js'

const entry = (id: string, ...tags: string[]): SnapshotEntry => ({
  id: id.repeat(32),
  parent: null,
  tags,
  createdAt: '2026-01-31T12:00:00.000Z',
  manifest: { mediaType: '', digest: 'sha256:', size: 0 },
})
const now = new Date('2026-01-31T12:34:56.789Z')

test('a snapshot that nobody named has the name of its machine and the time', () => {
  expect(timeTag('web', [], now)).toBe('web-20260131-123456')
  expect(assertTag(timeTag('0'.repeat(32), [], now))).toBe(`${'0'.repeat(32)}-20260131-123456`)
})

test('two in one second do not take each other’s name', () => {
  const first = entry('a', 'base', 'web-20260131-123456')
  expect(timeTag('web', [first], now)).toBe('web-20260131-123456-2')
  expect(timeTag('web', [first, entry('b', 'web-20260131-123456-2')], now)).toBe('web-20260131-123456-3')
  expect(timeTag('db', [first], now)).toBe('db-20260131-123456')
})

test('whose tags move, and who is left without any', () => {
  const entries = [entry('a', 'base', 'latest'), entry('b', 'monday'), entry('c')]
  expect(movedTags(entries, ['latest', 'monday', 'new'])).toEqual([
    { tag: 'latest', from: 'a'.repeat(32), last: false },
    { tag: 'monday', from: 'b'.repeat(32), last: true },
  ])
  expect(movedTags(entries, ['base', 'latest']).map(({ last }) => last)).toEqual([true, true])
  expect(movedTags(entries, ['new'])).toEqual([])
})
