import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { pageSizeBytes } from '../../memory/units.js'
import { cpuTemplates, type StateFileArch, type StateFormat, stateFormats } from './formats.js'
import { buildStateFile } from './made-files/synthetic-state-file.js'
import { readStateFile } from './read-state-file.js'
import { type RegionSpec, replaceRegions } from './replace-regions.js'
import type { VmInfo } from './vm-info.js'

const arches = ['x86_64', 'aarch64'] as const
const cases = stateFormats.flatMap((format) => arches.map((arch) => ({ format, arch })))

const vmInfoOf = (format: StateFormat, arch: StateFileArch, memSizeMib: number): fc.Arbitrary<VmInfo> =>
  fc.record({
    memSizeMib: fc.constant(memSizeMib),
    smt: fc.boolean(),
    cpuTemplate: fc.constantFrom(...cpuTemplates[arch]),
    kernelPath: fc.string({ unit: 'binary', maxLength: 300 }),
    initrdPath: fc.option(fc.string({ maxLength: 20 }), { nil: undefined }),
    bootArgs: fc.option(fc.string({ maxLength: 300 }), { nil: undefined }),
    hugePages: format.hugePagesKnown ? fc.constantFrom('None', '2M') : fc.constant('not known' as const),
  })

/**
 * A list of up to 24 regions that the format can hold. Whole MiB, since 8.0.0
 * compares the sum with mem_size_mib.
 */
function regionsOf(format: StateFormat): fc.Arbitrary<RegionSpec[]> {
  const piece = fc.record({
    gapPages: fc.oneof(fc.constant(0), fc.nat(2 ** 18), fc.nat(2 ** 32)),
    sizeMib: fc.oneof(fc.integer({ min: 1, max: 64 }), fc.integer({ min: 1, max: 2 ** 22 })),
    slots: fc.option(fc.array(fc.boolean(), { minLength: 1, maxLength: 20 }), { nil: undefined }),
    offsetPages: fc.nat(2 ** 30),
    order: fc.nat(),
  })
  return fc.array(piece, { minLength: 1, maxLength: 24 }).map((pieces) => {
    let address = 0
    const list = pieces.map(({ gapPages, sizeMib, slots, offsetPages, order }, index) => {
      const hot = format.record === 'slots' && index > 0 && slots !== undefined
      const sizeBytes = sizeMib * 2 ** 20 * (hot ? slots.length : 1)
      address += gapPages * pageSizeBytes
      const region: RegionSpec = {
        guestAddress: address,
        sizeBytes,
        ...(format.record === 'offset' ? { fileOffset: offsetPages * pageSizeBytes } : {}),
        ...(hot ? { type: 'hotpluggable' as const, plugged: slots } : {}),
      }
      address += sizeBytes
      return { region, order }
    })
    if (!format.ascending) list.sort((a, b) => a.order - b.order)
    return list.map((it) => it.region)
  })
}

const dramMib = (regions: readonly RegionSpec[]): number =>
  regions.reduce((sum, it) => sum + (it.type === 'hotpluggable' ? 0 : it.sizeBytes), 0) / 2 ** 20

function complete(regions: readonly RegionSpec[]): unknown[] {
  let sum = 0
  return regions.map(({ guestAddress, sizeBytes, fileOffset, type = 'dram', plugged = [true] }) => {
    const offset = fileOffset ?? sum
    sum += sizeBytes
    return { guestAddress, sizeBytes, fileOffset: offset, type, plugged }
  })
}

describe.each(cases)(
  '$format.snapshotVersion of Firecracker $format.firecracker, $arch',
  ({ format, arch }) => {
    const inputs = fc
      .tuple(regionsOf(format), fc.array(fc.stringMatching(/^!?\d{1,3}$/), { maxLength: 9 }))
      .chain(([regions, capModifiers]) =>
        vmInfoOf(format, arch, dramMib(regions)).map((vmInfo) => ({
          format,
          arch,
          regions,
          capModifiers,
          vmInfo,
        })),
      )

    test('what the documented layout says is read', () => {
      fc.assert(
        fc.property(inputs, (input) => {
          const state = readStateFile(buildStateFile(input))
          expect(state).toMatchObject({ arch, format, vmInfo: input.vmInfo, firecracker: format.firecracker })
          expect(state.capModifiers).toEqual(format.hasCapModifiers ? input.capModifiers : undefined)
          expect(state.regions).toEqual(complete(input.regions))
        }),
        { numRuns: 40 },
      )
    })

    test('a written list is read again, and nothing around it changes', () => {
      fc.assert(
        fc.property(inputs, regionsOf(format), (input, regions) => {
          // The one format whose two layouts are told apart by the sum needs a list with the same sum.
          const list = format.snapshotVersion === '8.0.0' ? [...input.regions].reverse() : regions
          const before = buildStateFile(input)
          const after = replaceRegions(before, list)
          const [old, now] = [readStateFile(before), readStateFile(after)]
          expect(now.regions).toEqual(complete(list))
          expect(now.vmInfo).toEqual(old.vmInfo)
          expect(after.subarray(0, now.regionList.start)).toEqual(before.subarray(0, old.regionList.start))
          expect(after.subarray(now.regionList.end, -8)).toEqual(before.subarray(old.regionList.end, -8))
          // bincode has one way to write a list; bitcode's reader takes more forms than its writer makes.
          if (format.encoding === 'bincode')
            expect(replaceRegions(after, complete(input.regions) as RegionSpec[])).toEqual(before)
          expect(replaceRegions(after, now.regions)).toEqual(after)
        }),
        { numRuns: 40 },
      )
    })
  },
)
