import type { SnapshotEntry } from 'varve'
import { expect, test } from 'vitest'
import { movedTags } from './tags.js'

const entry = (id: string, ...tags: string[]): SnapshotEntry => ({
  id: id.repeat(32),
  parent: null,
  tags,
  createdAt: '2026-01-31T12:00:00.000Z',
  manifest: { mediaType: '', digest: 'sha256:', size: 0 },
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
