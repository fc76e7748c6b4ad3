import { describe, expect, test } from 'vitest'
import { pageSetFromPages } from '../memory/make-page-set.js'
import { type PageSet, pagesOf } from '../memory/page-set.js'
import type { RecordedPages, RecorderName } from './recording.js'
import { workingSetFromBytes, workingSetToBytes } from './working-set-bytes.js'
import { workingSetOf } from './working-set-of.js'

const image = { image: 'ab'.repeat(16), pages: 100 }
const set = (...pages: number[]): PageSet => pageSetFromPages(pages)
const list = (it: PageSet): number[] => [...pagesOf(it)]

function recorded(recorder: RecorderName, sets: Partial<RecordedPages>): RecordedPages {
  return {
    recorder,
    present: null,
    written: null,
    groups: [],
    exact: { present: false, written: false },
    recordedAtMs: 1_700_000_000_000,
    windowMs: 12,
    endedBy: 'stop',
    scans: 1,
    warning: null,
    notes: { by: recorder },
    ...sets,
  }
}

const mincore = recorded('mincore', {
  present: set(1, 2, 3, 50),
  groups: [
    { atMs: 4, set: set(2, 50) },
    { atMs: 9, set: set(1, 3) },
  ],
})
const diff = recorded('diff', {
  written: set(3, 60),
  exact: { present: false, written: true },
  recordedAtMs: 1_700_000_000_005,
})

describe('workingSetOf', () => {
  test('read-only = present − written, from two recorders', () => {
    const workingSet = workingSetOf([mincore, diff], { ...image, notes: { guest: 'hello', exact: 'mine' } })
    expect(list(workingSet.readOnly)).toEqual([1, 2, 50])
    expect(list(workingSet.written)).toEqual([3, 60])
    expect(workingSet.groups).toEqual(mincore.groups)
    expect(workingSet).toMatchObject({ ...image, recordedAtMs: mincore.recordedAtMs, windowMs: 12 })
    expect(workingSet.notes).toEqual({
      guest: 'hello',
      recorders: { present: 'mincore', written: 'diff' },
      exact: { present: false, written: true },
      endedBy: 'stop',
      how: { mincore: { by: 'mincore' }, diff: { by: 'diff' } },
    })
    // Valid as the format has it.
    expect(workingSetFromBytes(workingSetToBytes(workingSet), 'test').notes).toEqual(workingSet.notes)
  })

  test('the first that can tell counts', () => {
    const both = recorded('pagemap', { present: set(7, 8), written: set(8) })
    expect(list(workingSetOf([both, mincore, diff], image).readOnly)).toEqual([7])
    expect(list(workingSetOf([diff, both], image).written)).toEqual([3, 60])
    expect(list(workingSetOf([diff, both], image).readOnly)).toEqual([7, 8])
  })

  test('pages behind the image are no part of it', () => {
    const outside = recorded('pagemap', {
      present: set(99, 100),
      written: set(101),
      groups: [
        { atMs: 1, set: set(99, 100) },
        { atMs: 2, set: set(101) },
      ],
    })
    const { readOnly, written, groups } = workingSetOf([outside], image)
    expect([list(readOnly), list(written)]).toEqual([[99], []])
    expect(groups).toEqual([{ atMs: 1, set: set(99) }])
  })

  test('is refused where nobody can tell', () => {
    const refused = (...all: RecordedPages[]) =>
      expect(() => workingSetOf(all, image)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
    refused(mincore)
    refused(diff)
    refused()
  })
})
