import { randomFillSync } from 'node:crypto'
import { closeSync, fsyncSync, ftruncateSync, openSync, rmSync, writeSync } from 'node:fs'
import { seededRandom } from '@varve/lab/testing'
import { pageSizeBytes } from 'varve'
import { type ImageId, type Layer, sealLayer } from 'varve/layers'
import { sealPacked } from 'varve/testing'

const idOf = (number: number) => number.toString(16).padStart(32, '0') as ImageId

/** A full base in which every page has content of its own. */
export async function baseLayer(path: string, pages: number, signal: AbortSignal): Promise<Layer> {
  const fd = openSync(path, 'wx', 0o600)
  const buffer = randomFillSync(Buffer.alloc(4 * 2 ** 20))
  for (let page = 0; page < pages; page += buffer.length / pageSizeBytes) {
    buffer.writeUInt32LE(page, 0)
    writeSync(fd, buffer, 0, buffer.length, page * pageSizeBytes)
  }
  fsyncSync(fd)
  closeSync(fd)
  return sealLayer(path, { image: idOf(1), parent: null, signal })
}

export interface DiffsSetting {
  readonly path: (name: string) => string
  readonly base: Layer
  readonly pages: number
  readonly name: string
  readonly longest: number
  readonly signal: AbortSignal
}

/**
 * Three diffs, each of a tenth of the pages in scattered runs of 1 to `longest`
 * pages, packed as captures are.
 */
export async function diffsOver(setting: DiffsSetting): Promise<Layer[]> {
  const { path, base, pages, name, longest, signal } = setting
  const random = seededRandom(longest)
  const layers: Layer[] = []
  let parent: ImageId = base.image
  for (let level = 1; level <= 3; level++) {
    const memory = path('memory')
    const fd = openSync(memory, 'wx', 0o600)
    ftruncateSync(fd, pages * pageSizeBytes)
    const buffer = randomFillSync(Buffer.alloc(longest * pageSizeBytes))
    const meanGap = ((1 + longest) / 2) * 9
    for (let page = 0; ; ) {
      page += 1 + Math.floor(random() * (2 * meanGap - 1))
      const count = 1 + Math.floor(random() * longest)
      if (page + count > pages) break
      buffer.writeUInt32LE(page + level, 0)
      writeSync(fd, buffer, 0, count * pageSizeBytes, page * pageSizeBytes)
      page += count
    }
    closeSync(fd)
    const image = idOf(longest * 100 + level)
    layers.push(await sealPacked(memory, path(`${name}-${level}`), { image, parent, signal }))
    rmSync(memory)
    parent = image
  }
  return layers
}
