// What bench:framed compares: ways to send a layer, and what a reader must do to have it.
import { closeSync, fsyncSync, openSync, rmSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import {
  blobOfFile,
  type FramedLayer,
  type FrameOptions,
  frameLayer,
  hotFramesOf,
  openFrame,
  PagePlaces,
  rangeOfFrames,
  readFramedIndex,
  unframeLayer,
} from '@varve/remote'
import type { Digest } from 'varve'
import { type Layer, storedRuns } from 'varve/layers'
import { hashFile } from 'varve/testing'
import { intersect, type PageSet, pageRange, runsOf, unionAll } from 'varve/working-sets'
import { must } from '../common/child.js'
import { middle } from '../common/numbers.js'
import type { FramedGuest } from './framed-guests.js'

/** Times in ms; CPU times are those of all threads, and of the programs that were run. */
export interface FramedMeasures {
  /** What goes over the wire for all of the layer. */
  readonly sizeBytes: number
  /** From the layer to the bytes to send, on disk. */
  readonly makeMs: number
  readonly makeCpuMs: number
  /** From these bytes to the layer on disk, its SHA-256 compared. */
  readonly backMs: number
  readonly backCpuMs: number
  /** To have the pages of the working set in memory: bytes, ranged reads, time from the page cache. */
  readonly setBytes: number
  readonly setRequests: number
  readonly setMs: number
  readonly setCpuMs: number
  /** To have one page in memory: the middle of many. */
  readonly pageMs: number | null
}

export interface FramedWay {
  readonly name: string
  measure(): Promise<FramedMeasures>
}

interface Setting {
  readonly guest: FramedGuest
  readonly digest: Digest
  readonly path: (name: string) => string
  readonly signal: AbortSignal
}

const pageSamples = 101

export function framedWays(setting: Setting): FramedWay[] {
  const framed = (name: string, options: FrameOptions): FramedWay => ({
    name,
    measure: () => measureFramed(setting, options),
  })
  return [
    { name: 'the layer itself', measure: () => measureLayer(setting) },
    framed('framed, raw', { hotCodec: 'none', codec: 'none' }),
    framed('framed, lz4', { hotCodec: 'lz4', codec: 'lz4' }),
    framed('framed, zstd 1', { hotCodec: 'zstd', codec: 'zstd', level: 1 }),
    framed('framed, zstd 3', { hotCodec: 'zstd', codec: 'zstd', level: 3 }),
    framed('framed, hot lz4, rest zstd 3', {}),
    { name: '`zstd -1` of the file', measure: () => measureZstd(setting, 1) },
    { name: '`zstd -3` of the file', measure: () => measureZstd(setting, 3) },
  ]
}

interface Taken {
  readonly ms: number
  readonly cpuMs: number
}

/** CPU time of the programs that the present work has run. */
let ofProgramsMs = 0

async function timed(work: () => Promise<unknown> | unknown): Promise<Taken> {
  const before = process.cpuUsage()
  ofProgramsMs = 0
  const begin = performance.now()
  await work()
  const ms = performance.now() - begin
  const { user, system } = process.cpuUsage(before)
  return { ms, cpuMs: (user + system) / 1000 + ofProgramsMs }
}

/** Runs a program. The last line that the shell's `times` says has the CPU time of its children. */
function run(file: string, args: readonly string[]): void {
  const said = must('sh', ['-ec', '"$@"; times', 'sh', file, ...args])
  const children = said.trim().split('\n').at(-1) ?? ''
  for (const [, minutes, seconds] of children.matchAll(/(\d+)m([\d.]+)s/g))
    ofProgramsMs += Number(minutes) * 60_000 + Number(seconds) * 1000
}

async function measureFramed(
  { guest: { layer, hot }, digest, path, signal }: Setting,
  options: FrameOptions,
): Promise<FramedMeasures> {
  const [sent, out] = [path('sent'), path('back')]
  let framed: FramedLayer | undefined
  const make = await timed(async () => {
    framed = await frameLayer(layer, sent, { ...options, hot, layerDigest: digest, signal })
  })
  if (framed === undefined) throw new Error('nothing was framed')
  const expected = { digest: framed.indexDigest, bytes: framed.indexBytes }
  await using blob = await blobOfFile(sent)
  const back = await timed(async () =>
    unframeLayer(blob, await readFramedIndex(blob, { expected }), out, { signal }),
  )
  const index = await readFramedIndex(blob, { expected })
  const hotFrames = hotFramesOf(index)
  const set = await timed(async () => {
    const read = await readFramedIndex(blob, { expected })
    const { offsetBytes, lengthBytes } = rangeOfFrames(read, 0, hotFrames)
    const bytes = await blob.read({ offsetBytes, lengthBytes })
    const frames = Array.from({ length: hotFrames }, (_, frame) => {
      const range = rangeOfFrames(read, frame)
      return openFrame(read, frame, bytes.subarray(range.offsetBytes, range.offsetBytes + range.lengthBytes))
    })
    await Promise.all(frames)
  })
  const places = new PagePlaces(index)
  const pageMs = await middleOf(layer, async (page) => {
    const frame = places.frameOf(page) as number
    await openFrame(index, frame, await blob.read(rangeOfFrames(index, frame)))
  })
  rmSync(out)
  rmSync(sent)
  const setBytes = framed.indexBytes + rangeOfFrames(index, 0, hotFrames).lengthBytes
  const setRequests = hotFrames === 0 ? 1 : 2
  return { sizeBytes: framed.sizeBytes, setBytes, setRequests, pageMs, ...took({ make, back, set }) }
}

async function measureLayer({ guest: { layer, hot }, digest, path }: Setting): Promise<FramedMeasures> {
  const out = path('back')
  const make = await timed(() => hashFile(layer.path))
  const back = await timed(() => {
    run('cp', ['--sparse=always', layer.path, out])
    return synced(out, digest)
  })
  rmSync(out)
  const reads = storedReads(layer, unionAll(hot))
  await using file = await open(layer.path)
  const set = await timed(async () => {
    for (const { storedPage, count } of reads)
      await file.read(Buffer.allocUnsafe(count * 4096), 0, count * 4096, storedPage * 4096)
  })
  const page = Buffer.allocUnsafe(4096)
  const pageMs = await middleOf(layer, (number) => file.read(page, 0, 4096, number * 4096))
  const setBytes = reads.reduce((sum, { count }) => sum + count * 4096, 0)
  const setRequests = reads.length
  return { sizeBytes: layer.sizeBytes, setBytes, setRequests, pageMs, ...took({ make, back, set }) }
}

async function measureZstd(
  { guest: { layer }, digest, path }: Setting,
  level: number,
): Promise<FramedMeasures> {
  const [sent, out] = [path('sent'), path('back')]
  const make = await timed(async () => {
    run('zstd', ['-q', '-f', `-${level}`, '-T2', layer.path, '-o', sent])
    await synced(sent)
  })
  const back = await timed(() => {
    run('zstd', ['-q', '-f', '-d', '--sparse', sent, '-o', out])
    return synced(out, digest)
  })
  const { size } = statSync(sent)
  rmSync(out)
  rmSync(sent)
  // The pages of a set are anywhere in it: the whole file must come first.
  const times = took({ make, back, set: back })
  return { sizeBytes: size, setBytes: size, setRequests: 1, pageMs: null, ...times }
}

const took = ({ make, back, set }: Readonly<Record<'make' | 'back' | 'set', Taken>>) => ({
  makeMs: make.ms,
  makeCpuMs: make.cpuMs,
  backMs: back.ms,
  backCpuMs: back.cpuMs,
  setMs: set.ms,
  setCpuMs: set.cpuMs,
})

/** Framing syncs its file, and compares the layer's digest: so must the others. */
async function synced(path: string, digest?: Digest): Promise<void> {
  const fd = openSync(path, 'r')
  fsyncSync(fd)
  closeSync(fd)
  if (digest === undefined) return
  const found = await hashFile(path)
  if (found.digest !== digest) throw new Error(`${path} is ${found.digest}, not ${digest}`)
}

/** Of pages all over the layer. The places are those of its file. */
async function middleOf(layer: Layer, read: (storedPage: number) => Promise<unknown>): Promise<number> {
  const runs = storedRuns(layer.index)
  const pages = runs.flatMap(({ storedPage, count }) =>
    Array.from({ length: count }, (_, i) => storedPage + i),
  )
  const times: number[] = []
  for (let i = 0; i < pageSamples; i++) {
    const at = Math.floor(((i * 7919) % pageSamples) * (pages.length / pageSamples))
    times.push((await timed(() => read(pages[at] as number))).ms)
  }
  return middle(times)
}

/** Where the layer's file has the pages of a set, as few reads as possible. */
function storedReads({ index }: Layer, set: PageSet): { storedPage: number; count: number }[] {
  return storedRuns(index).flatMap(({ start, storedPage, count }) =>
    [...runsOf(intersect(set, pageRange(start, count)))].map((run) => ({
      storedPage: storedPage + run.start - start,
      count: run.count,
    })),
  )
}
