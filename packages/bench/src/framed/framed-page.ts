// The tables of docs/results/framed.md.
import { middle, tenths } from '../common/numbers.js'
import type { FramedMeasures } from './framed-ways.js'

export interface GuestRow {
  readonly kind: 'guest'
  readonly guest: string
  readonly layout: string
  readonly layerBytes: number
  readonly dataPages: number
  readonly runs: number
  readonly hotPages: number
  readonly hotRuns: number
}

export interface FramedRow extends FramedMeasures {
  readonly kind: 'way'
  readonly guest: string
  readonly way: string
  readonly round: number
  /** The machine's, of the last minute. */
  readonly load: number
}

const mib = (bytes: number) => tenths(bytes / 2 ** 20).toFixed(1)
const line = (...cells: readonly (string | number)[]) => `| ${cells.join(' | ')} |`

export function framedTables(
  rows: readonly (FramedRow | GuestRow)[],
  machine: string,
): Readonly<Record<string, string>> {
  const guests = rows.filter((it) => it.kind === 'guest')
  const tables = guests.map((guest) =>
    table(guest, rows.filter((it) => it.kind === 'way' && it.guest === guest.guest) as FramedRow[]),
  )
  return {
    'framed machine': `${machine}. Raw rows: [framed.jsonl](framed.jsonl).`,
    'framed tables': tables.join('\n\n'),
  }
}

function table(guest: GuestRow, rows: readonly FramedRow[]): string {
  const ways = [...new Set(rows.map(({ way }) => way))]
  const dataBytes = guest.dataPages * 4096
  const of = (way: string) => {
    const all = rows.filter((it) => it.way === way)
    const first = all[0] as FramedRow
    const at = (pick: (row: FramedRow) => number) => middle(all.map(pick))
    const time = (ms: number, cpuMs: number) => `${Math.round(ms)} / ${Math.round(cpuMs)}`
    const make = time(
      at((it) => it.makeMs),
      at((it) => it.makeCpuMs),
    )
    const back = time(
      at((it) => it.backMs),
      at((it) => it.backCpuMs),
    )
    const perCpu = Math.round(dataBytes / 2 ** 20 / (at((it) => it.makeCpuMs) / 1000))
    const page = first.pageMs === null ? '–' : at((it) => it.pageMs ?? 0).toFixed(2)
    const set =
      guest.hotPages === 0
        ? ['–', '–', '–']
        : [
            mib(first.setBytes),
            first.setRequests,
            time(
              at((it) => it.setMs),
              at((it) => it.setCpuMs),
            ),
          ]
    return line(
      way,
      mib(first.sizeBytes),
      `${(first.sizeBytes / dataBytes).toFixed(2)}×`,
      make,
      perCpu,
      back,
      ...set,
      page,
    )
  }
  return `### ${guest.guest}

${guest.layout === 'flat' ? 'Flat' : 'Packed'}, ${mib(guest.layerBytes)} MiB with holes, ${mib(dataBytes)} MiB of data in ${guest.runs} runs${guest.hotPages === 0 ? '' : `; working set: ${mib(guest.hotPages * 4096)} MiB in ${guest.hotRuns} runs`}.

| | size, MiB | ÷ data | make, ms / CPU ms | MiB a CPU second | back, ms / CPU ms | set: MiB | set: reads | set: ms / CPU ms | page, ms |
|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|
${ways.map(of).join('\n')}`
}

export const framedPage = (
  parts: Readonly<Record<string, string>>,
): string => `# Framed layers: sizes and speeds

\`npm run bench:framed -- --write\` compares a layer [in frames](../formats/framed-layer-v1.md) with the layer itself, and with \`zstd\` of the whole file (two
threads). Each round does every way once, beginning with another one. The tables have medians; everything is warm in the page cache, and there is no network.
CPU times are those of all threads. If the machine has other work (its load is in the rows), they are more reliable than the other times.

- *size*: the bytes to send for the whole layer; of a flat layer itself, holes included. *÷ data*: this by the bytes of data pages.
- *make*: from the layer to the bytes to send, on disk, synced. For the layer itself, only its SHA-256 is computed. *MiB a CPU second*: data pages, by the CPU time of making.
- *back*: from these bytes to the layer on disk, synced, its SHA-256 compared.
- *set*: the cost of bringing the working set into memory: bytes to fetch, ranged reads, and the time without the network. Framed: the index and the hot
  frames, each frame's SHA-256 compared. The layer itself: one read for each run, nothing compared. \`zstd\` of the file cannot be read in parts: all of it.
- *page*: one page, once the index is there: a ranged read, the SHA-256, and the decompression of its frame. The layer itself: 4 KiB, nothing compared.
- *Linux*: a guest of the nested lab in which three functions (Python and Node) were each invoked once; the set is what one more call touches; the child is what that call wrote.
- *Micro guest*: its pages hold a word each, so it compresses about as well as anything can.

${parts['framed machine']}

${parts['framed tables']}
`
