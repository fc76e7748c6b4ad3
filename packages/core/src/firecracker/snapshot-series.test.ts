import { expect, test } from 'vitest'
import { loadsSnapshotsOf, snapshotSeriesOf } from './snapshot-series.js'
import { stateFormats } from './state-file/formats.js'
import { parseFirecrackerVersion as version } from './version.js'

const loads = (loader: string, maker: string) => loadsSnapshotsOf(version(loader), version(maker))

test.each([
  ['1.12.1', '1.12.0', true],
  ['1.12.0', '1.12.1', true],
  ['1.16.1', '1.16.0', true],
  ['1.16.0', '1.15.1', false],
  ['1.15.1', '1.16.0', false],
  // The same snapshot version 8.0.0, another layout.
  ['1.14.4', '1.13.2', false],
  ['1.13.2', '1.14.0', false],
  ['1.14.4', '1.14.0', true],
  ['1.10.1', '1.10.0', false],
  ['1.10.0', '1.9.1', false],
  ['1.19.3', '1.19.0', true],
  ['1.19.0', '1.18.0', false],
  ['1.6.0', '1.7.0', false],
])('%s loads snapshots of %s: %s', (loader, maker, expected) => {
  expect(loads(loader, maker)).toBe(expected)
})

test('the snapshot versions are those of the state files that are read', () => {
  for (const { snapshotVersion, firecracker } of stateFormats) {
    const [first] = /\d+\.\d+(\.\d+)?/.exec(firecracker) ?? []
    const text = first?.split('.').length === 2 ? `${first}.0` : String(first)
    expect([firecracker, snapshotSeriesOf(version(text)).snapshotVersion]).toEqual([
      firecracker,
      snapshotVersion,
    ])
  }
  expect(snapshotSeriesOf(version('1.18.0')).snapshotVersion).toBeNull()
})
