// `node scripts/bench.mjs golden-working-sets`: writes test/golden/working-sets again. To be run only when a
// new version of the format comes: files of an old version must stay readable for ever.
import { mkdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import type { ImageId } from 'varve/layers'
import {
  type PageSet,
  pageSetFromPages,
  pageSetFromRuns,
  type WorkingSet,
  writeWorkingSet,
} from 'varve/working-sets'
import { inCheckout } from '../common/checkout.js'

const image = '0102030405060708090a0b0c0d0e0f10' as ImageId

const runs = (...list: readonly (readonly [number, number])[]): PageSet =>
  pageSetFromRuns(list.map(([start, count]) => ({ start, count })))
const every = (step: number, first: number, count: number): PageSet =>
  pageSetFromPages(Uint32Array.from({ length: count }, (_, i) => first + step * i))
const rest = { image, recordedAtMs: 1_700_000_000_123, windowMs: 1500, groups: [], notes: {} }

const workingSets: Readonly<Record<string, WorkingSet>> = {
  empty: { ...rest, pages: 1, recordedAtMs: 0, windowMs: 0, readOnly: runs(), written: runs() },
  runs: { ...rest, pages: 32_768, readOnly: runs([0, 100], [200, 50]), written: runs([1000, 3000]) },
  bitmap: { ...rest, pages: 32_768, readOnly: every(2, 13, 100), written: every(3, 1000, 21) },
  'last-page': {
    ...rest,
    pages: 2 ** 32 - 2,
    readOnly: runs([2 ** 32 - 100, 97]),
    written: runs([2 ** 32 - 3, 1]),
  },
  groups: {
    ...rest,
    pages: 32_768,
    readOnly: runs([0, 64], [512, 300]),
    written: every(4, 4096, 64),
    groups: [
      { atMs: 4, set: runs([512, 200]) },
      { atMs: 4, set: every(8, 4096, 32) },
      { atMs: 1499, set: runs([0, 1], [712, 100], [4100, 1]) },
    ],
    notes: {
      recorders: { present: 'pagemap', written: 'diff' },
      exact: { present: false, written: true },
      guest: 'Zähler €',
    },
  },
}

export async function goldenWorkingSets(): Promise<void> {
  const directory = inCheckout('test/golden/working-sets')
  mkdirSync(directory, { recursive: true })
  for (const [name, workingSet] of Object.entries(workingSets)) {
    const path = join(directory, `${name}.working-set`)
    rmSync(path, { force: true })
    await writeWorkingSet(path, workingSet)
  }
}
