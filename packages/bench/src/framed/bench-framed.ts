// `npm run bench:framed`: layers in frames against flat layers, and against `zstd` of the whole file: sizes,
// the time to make and to unmake them, and what a reader needs for the working set and for one page. With the
// memory of a Linux guest of the nested lab, and of the micro guest; everything warm in the page cache.
//   --rounds N       default 5
//   --guests DIR     where the Linux guest's snapshots are kept for the next run (default: not kept)
//   --only NAMES     of linux, micro
//   --write          into docs/results     --out DIR   into DIR     --rows FILE   raw rows into FILE
import { mkdirSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { bringIntoCache } from '@varve/lab'
import { countPages, dataPages } from 'varve/layers'
import { hashFile } from 'varve/testing'
import { intersect, unionAll } from 'varve/working-sets'
import { loadNow, machineText, thisMachine } from '../common/machine.js'
import { tenths, turned } from '../common/numbers.js'
import { resultOptions, say, writeResults } from '../common/results.js'
import { openScratch } from '../common/scratch.js'
import { statusOf, stopOnSignals } from '../common/stop.js'
import { type FramedGuest, linuxGuests, microGuest } from './framed-guests.js'
import { type FramedRow, framedPage, framedTables, type GuestRow } from './framed-page.js'
import { framedWays } from './framed-ways.js'

export async function benchFramed(argv: readonly string[]): Promise<number> {
  const { values: options } = parseArgs({
    args: [...argv],
    options: {
      rounds: { type: 'string' },
      guests: { type: 'string' },
      only: { type: 'string' },
      ...resultOptions,
    },
  })
  const rounds = Number(options.rounds ?? 5)
  const only = (options.only ?? 'linux,micro').split(',')
  const signal = stopOnSignals()
  using scratch = openScratch()
  const rows: (FramedRow | GuestRow)[] = []
  return await statusOf(signal, async () => {
    const guests: FramedGuest[] = []
    if (only.includes('linux'))
      guests.push(...(await linuxGuests(options.guests ?? scratch.path('kept'), scratch.directory, signal)))
    if (only.includes('micro')) guests.push(await microGuest(scratch.directory, signal))
    for (const guest of guests) rows.push(...(await measure(guest, rounds, scratch.path('work'), signal)))
    const environment = { ...thisMachine(), rounds, load: tenths(loadNow()) }
    const parts = framedTables(rows, `${rounds} rounds. ${machineText()}`)
    for (const text of Object.values(parts)) process.stdout.write(`${text}\n\n`)
    writeResults({ name: 'framed', rows: [environment, ...rows], parts, newPage: framedPage }, options)
  })
}

/** Each way once a round, each round beginning with another one. */
async function measure(
  guest: FramedGuest,
  rounds: number,
  directory: string,
  signal: AbortSignal,
): Promise<(FramedRow | GuestRow)[]> {
  const { layer, hot, name } = guest
  mkdirSync(directory, { recursive: true })
  bringIntoCache([layer.path])
  const { digest } = await hashFile(layer.path, { signal })
  const hotPages = intersect(unionAll(hot), dataPages(layer.index))
  const { data } = countPages(layer.index)
  const rows: (FramedRow | GuestRow)[] = [
    {
      kind: 'guest',
      guest: name,
      layout: layer.layout,
      layerBytes: layer.sizeBytes,
      dataPages: data,
      runs: layer.index.starts.length,
      hotPages: hotPages.pages,
      hotRuns: hotPages.starts.length,
    },
  ]
  const ways = framedWays({ guest, digest, path: (it) => `${directory}/${it}`, signal })
  for (let round = 0; round < rounds; round++)
    for (const way of turned(ways, round)) {
      signal.throwIfAborted()
      const measures = await way.measure()
      rows.push({
        kind: 'way',
        guest: name,
        way: way.name,
        round: round + 1,
        ...measures,
        load: tenths(loadNow()),
      })
      say(`${name}, round ${round + 1}: ${way.name}`)
    }
  return rows
}
