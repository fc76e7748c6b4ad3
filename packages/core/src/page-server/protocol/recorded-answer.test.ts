import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isVarveError } from '../../errors.js'
import { pageRange, pageSetFromPages } from '../../memory/make-page-set.js'
import { emptyBitmap } from '../../memory/page-bitmap.js'
import { UFFD_PAGEFAULT_FLAG_WP, UFFD_PAGEFAULT_FLAG_WRITE } from '../../sys/abi.js'
import { FaultRecord, maxRecordedFaults } from './fault-record.js'
import { recordedFromJson, recordedToJson } from './recorded-answer.js'

const write = UFFD_PAGEFAULT_FLAG_WRITE
const toProtected = UFFD_PAGEFAULT_FLAG_WRITE | UFFD_PAGEFAULT_FLAG_WP

/** Through JSON, as on the control socket. `changed`: pages whose content is not the image's. */
function answered(record: FaultRecord, imagePages: number, changed: readonly number[]) {
  const bitmap = emptyBitmap(0, imagePages)
  for (const page of changed)
    bitmap.words[page >>> 5] = (bitmap.words[page >>> 5] as number) | (1 << (page & 31))
  return recordedFromJson(JSON.parse(JSON.stringify(recordedToJson(record.copy(), bitmap))), imagePages)
}

describe('what was recorded', () => {
  test('comes over the socket as it was: wanted pages count by their content', () => {
    const record = new FaultRecord(1001, true)
    for (const [page, flags] of [
      [1000, 0],
      [31, write],
      [32, write],
      [33, write],
      [63, 0],
      [63, toProtected],
      [33, toProtected],
      [5, toProtected],
    ] as const)
      record.note(page, flags)
    const found = answered(record, 1001, [32])
    expect([...found.pages]).toEqual([1000, 31, 32, 33, 63])
    expect(found.touched).toEqual(pageSetFromPages([31, 32, 33, 63, 1000]))
    expect(found.written).toEqual(pageSetFromPages([5, 32, 33, 63]))
    expect(found.unchanged).toEqual(pageSetFromPages([31]))
    expect(found.truncated).toBe(false)
  })

  test('of huge pages: whole ones are touched, and the content tells what was written', () => {
    const record = new FaultRecord(1024, true, 512)
    record.note(0, 0)
    record.note(0, toProtected)
    record.note(512, write)
    const found = answered(record, 1024, [3, 600])
    expect(found.touched).toEqual(pageRange(0, 1024))
    expect([...found.pages]).toEqual([...Array(1024).keys()])
    expect(found.written).toEqual(pageSetFromPages([3, 600]))
    expect(found.unchanged?.pages).toBe(1022)
    expect(found.unitPages).toBe(512)
  })

  test('without writes says nothing of them', () => {
    const record = new FaultRecord(64, false)
    record.note(7, write)
    record.note(8, toProtected)
    const found = answered(record, 64, [])
    expect(found).toMatchObject({ written: null, unchanged: null, touched: pageSetFromPages([7]) })
  })

  test('beyond the faults that are kept in order, pages are in the set all the same', () => {
    const record = new FaultRecord(100, false)
    for (let count = 0; count < maxRecordedFaults; count++) record.note(count % 50, 0)
    expect(record.copy().truncated).toBe(false)
    record.note(99, 0)
    const found = answered(record, 100, [])
    expect(found.truncated).toBe(true)
    expect(found.pages).toHaveLength(maxRecordedFaults)
    expect(found.touched).toEqual(pageSetFromPages([...Array(50).keys(), 99]))
  })
})

test('whatever the answer is, it becomes sets within the image or PAGE_SERVER_PROTOCOL', () => {
  const good = recordedToJson(new FaultRecord(100, true).copy(), emptyBitmap(0, 100))
  fc.assert(
    fc.property(fc.constantFrom(...Object.keys(good)), fc.jsonValue(), (name, value) => {
      try {
        recordedFromJson({ ...good, [name]: value }, 100)
      } catch (error) {
        expect(isVarveError(error, 'PAGE_SERVER_PROTOCOL')).toBe(true)
      }
    }),
  )
})
