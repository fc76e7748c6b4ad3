import { expect, test } from 'vitest'
import { snapshotConfigFromJson, snapshotConfigToJson } from './snapshot-config.js'
import type { SnapshotConfig } from './snapshot-types.js'

const config: SnapshotConfig = {
  id: 'ab'.repeat(16),
  parent: null,
  createdAt: '2026-01-31T12:00:00.000Z',
  kind: 'full',
  memoryPages: 64,
  firecracker: { version: '1.12.1' },
  host: { cpu: 'a cpu', kernel: '6.1.0', arch: 'x86_64', pageSizeBytes: 4096 },
  machine: {},
  disks: [],
}
const read = (value: SnapshotConfig) => snapshotConfigFromJson(snapshotConfigToJson(value), 'config.json')

test('a config without labels, as older versions wrote it, has none', () => {
  expect(read(config)).toEqual({ ...config, labels: {} })
})

test('labels are read back', () => {
  const labels = { team: 'storage', 'a/b': '' }
  expect(read({ ...config, labels })).toEqual({ ...config, labels })
})

test('where the agent of the guest listens is read back, and must be a port', () => {
  const guestAgent = { port: 1024 }
  expect(read({ ...config, guestAgent })).toEqual({ ...config, guestAgent, labels: {} })
  for (const wrong of [{}, { port: 0 }, { port: 2 ** 32 - 1 }, { port: '1024' }, 1024, null])
    expect(() => read({ ...config, guestAgent: wrong as never })).toThrow(
      expect.objectContaining({ code: 'FORMAT_INVALID' }),
    )
})

test.each([
  ['a key with a line end', { 'a\nb': 'x' }],
  ['a value with an escape', { a: '\u001b[2J' }],
  ['a number', { a: 1 }],
  ['a hundred', Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`k${i}`, 'v']))],
])('labels of another origin: %s is refused', (_, labels) => {
  expect(() => read({ ...config, labels: labels as never })).toThrow(
    expect.objectContaining({ code: 'FORMAT_INVALID' }),
  )
})
