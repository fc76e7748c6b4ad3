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

\`npm run bench:framed -- --write\`: a layer [in frames](../formats/framed-layer-v1.md) against the layer itself, and against \`zstd\` of the whole file (two threads).
Every way once a round, each round beginning with another one; medians; everything warm in the page cache, no network. CPU times
are those of all threads, and say more than the others if the machine has other work (its load is in the rows).

- *size*: what is sent for the whole layer. A flat layer itself is sent with its holes.
- *make*: from the layer to the bytes to send, on disk, synced. Of the layer itself it is the SHA-256 alone. *MiB a CPU second*: data pages, by the CPU time of making.
- *back*: from these bytes to the layer on disk, synced, its SHA-256 compared.
- *set*: what brings the pages of the working set into memory: bytes over the wire, ranged reads, and the time without the network. Framed: the index and the hot
  frames, each frame's SHA-256 compared. Of the layer itself, one read for each run, nothing compared. \`zstd\` of the file has no parts: all of it.
- *page*: one page, the index being there: a ranged read, the SHA-256, and the decompression of its frame. Of the layer itself, 4 KiB, nothing compared.
- *Linux*: a guest of the nested lab in which three functions (Python and Node) were each invoked once; the set is what one more call touches; the child what it wrote.
- *Micro guest*: its pages hold a word each; it shows the upper end of what compresses.

${parts['framed machine']}

${parts['framed tables']}
`
