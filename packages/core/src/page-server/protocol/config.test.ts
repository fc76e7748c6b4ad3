import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { isVarveError, VarveError } from '../../errors.js'
import { type ExtentMapJson, extentMapFromJson } from '../../layer/extent-map-json.js'
import type { FrozenSource } from '../../memory/frozen-source.js'
import {
  type PageServerConfig,
  pageServerConfig,
  pageServerConfigToJson,
  readPageServerConfig,
} from './config.js'

const directory = mkdtempSync(join(tmpdir(), 'varve-config-'))
afterAll(() => rmSync(directory, { recursive: true }))

const mapJson: ExtentMapJson = { pages: 100, runs: [10, 0, 0, 50, -1, 0, 40, 1, 5] }
const config: PageServerConfig = {
  vmm: { pid: 4711, startTime: 123_456 },
  directory: '/run/vm',
  socketPath: '/run/vm/uffd.sock',
  socketOwner: { uid: 1000, gid: 100 },
  controlPath: '/run/vm/page-server/control.sock',
  layers: [
    { path: '/layers/base', pages: 100 },
    { path: '/layers/one', pages: 45 },
    { path: '/layers/idle', pages: 0 },
  ],
  map: extentMapFromJson(mapJson, [100, 45, 0]),
  randomAccess: true,
  workingSetPath: '/run/vm/page-server/working-set',
  graduate: true,
  faultCpu: 3,
  frozen: null,
}
const json = () => JSON.parse(pageServerConfigToJson(config)) as Record<string, unknown>

describe('a configuration', () => {
  test('comes back from its file as it was', () => {
    const path = join(directory, 'config.json')
    writeFileSync(path, pageServerConfigToJson(config))
    expect(readPageServerConfig(path)).toEqual(config)
    const ownerless = {
      ...config,
      socketOwner: null,
      randomAccess: false,
      workingSetPath: null,
      graduate: false,
      faultCpu: null,
    }
    writeFileSync(path, pageServerConfigToJson(ownerless))
    expect(readPageServerConfig(path)).toEqual(ownerless)
  })

  test.each([1, 4, 0, '1', null, { toString: 0, valueOf: 0 }])('version %j is unsupported', (version) => {
    expect(codeOf(() => pageServerConfig({ ...json(), version }))).toBe('FORMAT_UNSUPPORTED')
  })

  describe('with frozen memory', () => {
    const frozen: FrozenSource = {
      process: { pid: 4712, startTime: 123_457 },
      regions: [
        { address: 2 ** 40, firstPage: 0, pages: 60 },
        { address: 2 ** 30, firstPage: 60, pages: 40 },
      ],
    }
    const layers = [{ path: '/layers/base', pages: 100 }]
    const map = extentMapFromJson({ pages: 100, runs: [10, 0, 0, 50, -1, 0, 40, 1, 60] }, [100, 100])
    const cloned = { ...config, layers, map, frozen, graduate: false, workingSetPath: null }
    const asJson = () => JSON.parse(pageServerConfigToJson(cloned)) as Record<string, unknown>

    test('survives being written and read, in a version that older servers refuse', () => {
      expect(asJson().version).toBe(3)
      expect(pageServerConfig(asJson())).toEqual(cloned)
      expect(json().version).toBe(2)
    })

    const region = { address: 2 ** 40, firstPage: 0, pages: 100 }
    test.each<[string, object]>([
      ['none', { frozen: undefined }],
      ['no regions', { frozen: { ...frozen, regions: [] } }],
      ['too many regions', { frozen: { ...frozen, regions: Array(65).fill(region) } }],
      ['init as process', { frozen: { ...frozen, process: { pid: 1, startTime: 0 } } }],
      ['a gap', { frozen: { ...frozen, regions: [{ ...region, firstPage: 1 }] } }],
      ['half a page', { frozen: { ...frozen, regions: [{ ...region, address: 2 ** 40 + 1 }] } }],
      ['an address in the kernel', { frozen: { ...frozen, regions: [{ ...region, address: 2 ** 47 }] } }],
      ['more pages than an image has', { frozen: { ...frozen, regions: [{ ...region, pages: 2 ** 32 }] } }],
      ['fewer pages than the map leads to', { frozen: { ...frozen, regions: [{ ...region, pages: 99 }] } }],
      ['a working set', { prefetch: '/run/vm/working-set' }],
      ['graduation', { graduate: true }],
    ])('%s is FORMAT_INVALID', (_name, change) => {
      expect(codeOf(() => pageServerConfig({ ...asJson(), ...change }))).toBe('FORMAT_INVALID')
    })

    test('of version 2 a source without a layer is FORMAT_INVALID', () => {
      expect(codeOf(() => pageServerConfig({ ...asJson(), version: 2 }))).toBe('FORMAT_INVALID')
    })
  })

  test.each<[string, object]>([
    ['another format', { format: 'varve' }],
    ['no vmm', { vmm: undefined }],
    ['init as vmm', { vmm: { pid: 1, startTime: 0 } }],
    ['a fraction as pid', { vmm: { pid: 4.5, startTime: 0 } }],
    ['no start time', { vmm: { pid: 4711 } }],
    ['no layers', { layers: undefined }],
    ['too many layers', { layers: Array(1025).fill({ path: '/l', pages: 1 }) }],
    ['a layer with less than no pages', { layers: [{ path: '/layers/base', pages: -1 }] }],
    ['a NUL in a path', { socketPath: '/run/a\0b' }],
    ['an empty path', { controlPath: '' }],
    ['a working set without a path', { prefetch: '' }],
    ['an owner without group', { socketOwner: { uid: 0 } }],
    ['an owner below zero', { socketOwner: { uid: -1, gid: 0 } }],
    ['an undecided flag', { randomAccess: 1 }],
    ['a CPU below zero', { faultCpu: -1 }],
    ['a CPU that no kernel has', { faultCpu: 8192 }],
    ['no map', { map: undefined }],
    ['a map that leaves pages out', { map: { pages: 100, runs: [10, 0, 0] } }],
    ['a map that covers too much', { map: { pages: 100, runs: [101, -1, 0] } }],
    ['a run behind the end of its layer', { map: { pages: 100, runs: [60, -1, 0, 40, 1, 6] } }],
    ['a run of a layer without pages', { map: { pages: 100, runs: [99, 0, 0, 1, 2, 0] } }],
    ['a run of an unknown layer', { map: { pages: 100, runs: [100, 3, 0] } }],
  ])('%s is FORMAT_INVALID', (_name, change) => {
    expect(codeOf(() => pageServerConfig({ ...json(), ...change }))).toBe('FORMAT_INVALID')
  })

  test('no JSON, and a file beyond the limit, are FORMAT_INVALID', () => {
    const path = join(directory, 'broken.json')
    writeFileSync(path, '{')
    expect(codeOf(() => readPageServerConfig(path))).toBe('FORMAT_INVALID')
    truncateSync(path, 512 * 1024 * 1024 + 1)
    expect(codeOf(() => readPageServerConfig(path))).toBe('FORMAT_INVALID')
  })

  test('whatever JSON there is in whatever place, only VarveErrors come out', () => {
    const hostile = fc.oneof(
      fc.jsonValue(),
      fc.constantFrom<unknown>({ toString: 0, valueOf: 0 }, [{ toString: 0 }], [1, { valueOf: 0 }, 3]),
    )
    const place = fc.constantFrom(...Object.keys(json()), 'map.pages', 'map.runs', 'vmm.pid')
    fc.assert(
      fc.property(place, hostile, (key, value) => {
        const it = json()
        const [outer = '', inner] = key.split('.')
        if (inner === undefined) it[outer] = value
        else it[outer] = { ...(it[outer] as object), [inner]: value }
        for (const candidate of [it, value])
          try {
            pageServerConfig(candidate)
          } catch (error) {
            expect(error).toBeInstanceOf(VarveError)
          }
      }),
      { numRuns: 2000 },
    )
  })
})

function codeOf(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    if (isVarveError(error)) return error.code
    throw error
  }
  return 'accepted'
}
