import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { RemovedPages } from './removed-pages.js'
import { readRemovedPages, readVmState, removalLog, writeVmState } from './vm-state.js'

const directory = mkdtempSync(join(tmpdir(), 'varve-vm-state-'))
const path = (name: string) => join(directory, name)
afterAll(() => rmSync(directory, { recursive: true }))

describe('what a successor must know', () => {
  const regions = [
    { address: 0x7000_0000_0000, firstPage: 100, pages: 50 },
    { address: 0x7100_0000_0000, firstPage: 0, pages: 100 },
  ]

  test.each([null, true, false])('comes back as it was written, recording: %s', (recording) => {
    writeVmState(path('state'), { regions, hugePages: false, recording })
    expect(readVmState(path('state'), 150)).toEqual({ regions, hugePages: false, recording })
  })

  test('comes back of huge pages, in a version that a server of single pages refuses', () => {
    const huge = [{ address: 0x7000_0000_0000, firstPage: 512, pages: 1024 }]
    writeVmState(path('huge'), { regions: huge, hugePages: true, recording: null })
    expect(readVmState(path('huge'), 1536)).toEqual({ regions: huge, hugePages: true, recording: null })
    expect(JSON.parse(readFileSync(path('huge'), 'utf8'))).toMatchObject({ version: 2 })
  })

  test('is undefined where the VM had not handed over its memory', () => {
    expect(readVmState(path('none'), 150)).toBeUndefined()
  })

  test.each([
    ['text', 'nonsense'],
    ['another version', '{"version":3,"regions":[],"recording":null}'],
    ['half a region', '{"version":1,"regions":[4096,0],"recording":null}'],
    ['a part of a huge page', '{"version":2,"regions":[2097152,0,100],"recording":null}'],
    ['a negative page', '{"version":1,"regions":[4096,-1,4],"recording":null}'],
    ['a region beyond the image', '{"version":1,"regions":[4096,100,51],"recording":null}'],
    ['an empty region', '{"version":1,"regions":[4096,100,0],"recording":null}'],
    ['regions that overlap', '{"version":1,"regions":[4096,0,4,8192,4,4],"recording":null}'],
    ['no word about a recording', '{"version":1,"regions":[4096,0,4]}'],
  ])('is refused: %s', (_name, text) => {
    writeFileSync(path('bad'), text)
    expect(() => readVmState(path('bad'), 150)).toThrow()
  })
})

describe('removed pages', () => {
  test('are known to the next, whatever the order they came in', () => {
    const log = removalLog(path('removed'), path('state'))
    const pages = new RemovedPages(1000, log)
    pages.expect()
    for (const [first, count] of [
      [900, 100],
      [3, 1],
      [8, 16],
      [500, 7],
    ] as const)
      pages.add(first, count)
    pages.settle()
    log.close()
    const next = new RemovedPages(1000, undefined, readRemovedPages(path('removed'), 1000))
    const all = Array.from({ length: 1000 }, (_, page) => page)
    expect(all.filter((page) => next.has(page))).toEqual(all.filter((page) => pages.has(page)))
    expect(all.filter((page) => next.has(page))).toHaveLength(124)
  })

  test('of a server that died in between cannot be known', () => {
    const log = removalLog(path('torn'), path('state'))
    const pages = new RemovedPages(1000, log)
    pages.expect()
    pages.add(3, 1)
    log.close()
    expect(() => readRemovedPages(path('torn'), 1000)).toThrow('giving memory back')
  })

  test('are none where none were removed, or only expected', () => {
    expect(readRemovedPages(path('nothing'), 1000)).toBeUndefined()
    const log = removalLog(path('expected'), path('state'))
    const pages = new RemovedPages(1000, log)
    pages.expect()
    pages.settle()
    log.close()
    expect(readRemovedPages(path('expected'), 1000)).toBeUndefined()
    expect(pages.any).toBe(false)
  })

  test('that cannot be kept leave nobody who could take over', () => {
    writeVmState(path('state'), { regions: [], hugePages: false, recording: null })
    const log = removalLog(join(directory, 'no', 'such', 'directory'), path('state'))
    new RemovedPages(1000, log).add(3, 1)
    expect(() => readFileSync(path('state'))).toThrow('ENOENT')
  })

  test('of another image are refused', () => {
    writeFileSync(path('long'), Buffer.alloc(8 + 126))
    expect(() => readRemovedPages(path('long'), 1000)).toThrow('134 bytes for 1000 pages')
  })
})
