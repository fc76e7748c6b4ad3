import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { compareImages } from '../../../layer/compare-images.js'
import { ExtentMapBuilder } from '../../../layer/extent-map-builder.js'
import { writeLayeredMemory } from '../../../layer/layered-memory.js'
import type { OpenSnapshot } from '../../../store/snapshot-types.js'
import { restoreLayeredMemory } from '../../restore-layered-memory.js'
import { mappableImage } from './mappable-image.js'

const limit = Math.floor(Number(readFileSync('/proc/sys/vm/max_map_count', 'utf8')) / 2)
const runs = limit + 100
let directory: string
beforeEach(() => {
  // In memory: file systems on disks take seconds for so many extents.
  directory = mkdtempSync('/dev/shm/varve-many-')
})
afterEach(() => rmSync(directory, { recursive: true }))

/** Pages by turns from the first layer and from one page of the second: as many runs as pages. */
function scattered() {
  const page = (byte: number) => Buffer.alloc(4096, byte)
  const files = [
    { path: join(directory, 'zero'), storedPages: 2 },
    { path: join(directory, 'one'), storedPages: 1 },
  ]
  writeFileSync(join(directory, 'zero'), Buffer.concat([page(1), page(2)]))
  writeFileSync(join(directory, 'one'), page(3))
  const builder = new ExtentMapBuilder(runs)
  for (let run = 0; run < runs; run++) builder.add(1, run % 2, run % 4 === 2 ? 1 : 0)
  return { map: builder.finish(), files }
}

test('an image of more runs than half of what a process may have is mapped from one flat file', async () => {
  const image = scattered()
  expect(image.map.starts.length).toBe(runs)
  const staging = join(directory, 'staging')
  mkdirSync(staging)
  const snapshot = {
    ...image,
    flatPath: join(directory, 'flat'),
    stage: async () => ({ directory: staging, [Symbol.asyncDispose]: async () => {} }),
  } as unknown as OpenSnapshot
  const mappable = await mappableImage(snapshot, {})
  expect(mappable.map.starts.length).toBe(1)
  expect((await compareImages({ ...mappable, files: mappable.layers }, image)).pages).toBe(0)
}, 30_000)

test('a memory file with as many ranges is refused, and nothing is launched', async () => {
  const statePath = join(directory, 'state')
  writeFileSync(statePath, 'state')
  await writeLayeredMemory({ ...scattered(), statePath }, join(directory, 'out'))
  const files = { statePath: join(directory, 'out/state'), memoryPath: join(directory, 'out/memory') }
  const runtimeDirectory = join(directory, 'run')
  await expect(restoreLayeredMemory(files, { runtimeDirectory })).rejects.toMatchObject({
    code: 'HOST_UNSUPPORTED',
    remedy: expect.stringContaining('max_map_count'),
  })
  expect(readdirSync(directory)).not.toContain('run')
}, 30_000)
