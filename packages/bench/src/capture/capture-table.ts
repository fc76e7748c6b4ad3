import { machineText } from '../common/machine.js'
import { groupBy, middle } from '../common/numbers.js'

export const wayNames = ['stop', 'live'] as const
export type Way = (typeof wayNames)[number]

export interface CaptureRow {
  readonly memoryMib: number
  readonly writtenMib: number
  readonly round: number
  readonly way: Way
  readonly load: number
  /** How a live capture froze the memory. */
  readonly how: 'copy' | 'fork' | null
  /** How long an end of the process that captures live would have been the VM's end. */
  readonly heldMs: number | null
  readonly requesterMs: number
  readonly createMs: number
  readonly guestMs: number
  readonly sealedMs: number
  readonly rewriteMs: number
  readonly copiedMib: number
}

type Column = 'requesterMs' | 'guestMs' | 'sealedMs' | 'rewriteMs' | 'copiedMib'

/** The generated parts of docs/results/capture.md. */
export function captureParts(
  rows: readonly CaptureRow[],
  rounds: number,
  firecracker: string,
): Record<string, string> {
  const lines = [...groupBy(rows, ({ memoryMib, writtenMib }) => `${memoryMib}:${writtenMib}`).values()].map(
    (group) => {
      const of = (way: Way, column: Column) =>
        middle(group.filter((it) => it.way === way).map((it) => it[column]))
      const ms = (value: number) => (value < 10 ? value.toFixed(1) : value.toFixed(0))
      const both = (column: Column) => `${ms(of('stop', column))} | ${ms(of('live', column))}`
      const live = group.filter(({ way }) => way === 'live')
      const how = [...new Set(live.map((it) => it.how))].join(', ')
      const ratio = middle(
        live.map(({ round, requesterMs }) => {
          const stop = group.find((it) => it.way === 'stop' && it.round === round)
          return (stop?.requesterMs ?? Number.NaN) / requesterMs
        }),
      )
      const { memoryMib, writtenMib } = group[0] as CaptureRow
      return `| ${memoryMib} | ${writtenMib} | ${how} | ${both('requesterMs')} | ${ratio.toFixed(ratio < 10 ? 2 : 0)}× | ${both('guestMs')} | ${both('sealedMs')} | ${both('rewriteMs')} | ${ms(of('live', 'copiedMib'))} |`
    },
  )
  const held = rows.flatMap(({ heldMs }) => (heldMs === null ? [] : [heldMs])).sort((a, b) => a - b)
  const heldAt = (share: number) => (held[Math.ceil(held.length * share) - 1] as number).toFixed(1)
  return {
    'capture held': `Of ${held.length} live captures: median ${heldAt(0.5)} ms, 90 % at most ${heldAt(0.9)} ms, all at most ${heldAt(1)} ms.`,
    'capture machine': `${rounds} rounds, Firecracker ${firecracker}. ${machineText()}. Raw rows: [live-capture.jsonl](live-capture.jsonl).`,
    'capture table': [
      '| memory, MiB | written, MiB | frozen by | requester, stop | live | stop ÷ live | guest, stop | live | sealed, stop | live | rewrite, stop | live | copies, MiB |',
      '|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|',
      ...lines,
    ].join('\n'),
  }
}
