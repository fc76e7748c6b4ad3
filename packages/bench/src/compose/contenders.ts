import { spawnSync } from 'node:child_process'
import { closeSync, fsyncSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import { pageSizeBytes } from 'varve'
import {
  type ComposedLayer,
  compareImages,
  type ExtentMap,
  type FlattenResult,
  flatten,
  type Layer,
  type LayerFile,
  packLayer,
  squashLayers,
  verifyLayer,
} from 'varve/layers'
import { type Mutation, observeMutations } from 'varve/testing'
import type { PageSet } from 'varve/working-sets'
import { tenths } from '../common/numbers.js'
import type { Timed } from './compose-table.js'

export type CopyReport = Pick<FlattenResult, 'method' | 'pagesBy'>

/** One way to make a file `out` of the layers. */
export interface Contender {
  readonly name: string
  run(): Promise<Timed & Partial<CopyReport>>
  /** That what the last run made is right. */
  check?(): Promise<void>
}

interface Image {
  readonly map: ExtentMap
  readonly files: readonly LayerFile[]
}

export interface ComposeSetting {
  readonly base: Layer
  readonly runs: readonly Layer[]
  readonly chain: Image
  readonly splintered: Image
  /** The finished flat image of `chain`. */
  readonly flat: string
  readonly out: string
  readonly reflinks: boolean
  readonly signal: AbortSignal
}

export function contendersIn(setting: ComposeSetting): Contender[] {
  const { base, runs, chain, splintered, flat, out, reflinks, signal } = setting
  const isFlat = async () => same(await compareImages(out, flat, { signal }))
  return [
    {
      name: 'flatten',
      run: () => ours(() => flatten(chain, out, { signal })).then(measuredOf),
      check: isFlat,
    },
    {
      name: 'flatten, splinters',
      run: () => ours(() => flatten(splintered, out, { signal })).then(measuredOf),
      check: async () => same(await compareImages(out, splintered, { signal })),
    },
    layerContender('squash', () => squashLayers(runs, out, { signal }), signal),
    layerContender('pack', () => packLayer(base, out, { layout: 'packed', signal }), signal),
    { name: 'loop, page by page', run: () => loop(chain, out, signal), check: isFlat },
    { name: 'cp --sparse=always', run: () => cp(['--sparse=always', flat, out], out) },
    ...(reflinks
      ? [
          {
            name: 'cp --sparse=always --reflink=never',
            run: () => cp(['--sparse=always', '--reflink=never', flat, out], out),
          },
        ]
      : []),
  ]
}

function layerContender(name: string, make: () => Promise<ComposedLayer>, signal: AbortSignal): Contender {
  let made: ComposedLayer | undefined
  return {
    name,
    run: async () => {
      const run = await ours(make)
      made = run.result
      return measuredOf(run)
    },
    check: async () => {
      if (made !== undefined) await verifyLayer(made, { signal })
    },
  }
}

function same(differing: PageSet): void {
  if (differing.pages !== 0) throw new Error(`${differing.pages} pages differ`)
}

interface OurRun<Result> {
  readonly result: Result
  readonly timed: Timed
}

const measuredOf = ({ result, timed }: OurRun<FlattenResult | ComposedLayer>): Timed & CopyReport => {
  const { method, pagesBy } = 'copied' in result ? result.copied : result
  return { ...timed, method, pagesBy }
}

/** Times of one of our own calls, split where its changes on disk show what it is at. */
async function ours<Result extends FlattenResult | ComposedLayer>(
  work: () => Promise<Result>,
): Promise<OurRun<Result>> {
  const events: { kind: Mutation['kind']; at: number }[] = []
  observeMutations(({ kind }) => void events.push({ kind, at: performance.now() }))
  const start = performance.now()
  const result = await work()
  const end = performance.now()
  observeMutations(undefined)
  const named = events.findIndex(({ kind }) => kind === 'link' || kind === 'rename')
  const isSync = ({ kind }: { kind: Mutation['kind'] }) => kind === 'fsync'
  const lastSync = events.slice(0, named).findLastIndex(isSync)
  // A layer's footer is written right before its last sync, and after checksums that are
  // computed during the sync of its pages.
  const isLayer = 'copied' in result
  const dataSync = isLayer ? events.slice(0, lastSync - 1).findLastIndex(isSync) : lastSync
  const at = (event: number) => events[event]?.at ?? Number.NaN
  return {
    result,
    timed: {
      copyMs: tenths(at(dataSync) - start),
      ...(isLayer ? { checksumMs: tenths(at(lastSync - 1) - at(dataSync)) } : {}),
      syncMs: tenths(end - at(lastSync)),
      totalMs: tenths(end - start),
    },
  }
}

/** What one would write first: each page read from where it comes from, and written. */
async function loop({ map, files }: Image, out: string, signal: AbortSignal): Promise<Timed> {
  const start = performance.now()
  const sources = files.map(({ path }) => openSync(path, 'r'))
  const target = openSync(out, 'wx+', 0o600)
  ftruncateSync(target, map.pages * pageSizeBytes)
  const page = Buffer.allocUnsafe(pageSizeBytes)
  for (const [i, first] of map.starts.entries()) {
    const source = sources[map.sources[i] ?? -1]
    if (source === undefined) continue
    const storedPage = map.storedStarts[i] ?? 0
    for (let j = 0; j < (map.counts[i] ?? 0); j++) {
      readSync(source, page, 0, pageSizeBytes, (storedPage + j) * pageSizeBytes)
      writeSync(target, page, 0, pageSizeBytes, (first + j) * pageSizeBytes)
    }
    if (i % 1024 === 0) signal.throwIfAborted()
  }
  const copied = performance.now()
  fsyncSync(target)
  const end = performance.now()
  for (const fd of [...sources, target]) closeSync(fd)
  return { copyMs: tenths(copied - start), syncMs: tenths(end - copied), totalMs: tenths(end - start) }
}

async function cp(args: readonly string[], out: string): Promise<Timed> {
  const start = performance.now()
  const { status, stderr } = spawnSync('cp', args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`cp ${args.join(' ')}: ${stderr}`)
  const copied = performance.now()
  const fd = openSync(out, 'r')
  fsyncSync(fd)
  const end = performance.now()
  closeSync(fd)
  return { copyMs: tenths(copied - start), syncMs: tenths(end - copied), totalMs: tenths(end - start) }
}
