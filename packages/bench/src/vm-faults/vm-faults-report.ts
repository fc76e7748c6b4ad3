import { nearestRank } from '@varve/lab/testing'
import { machineText } from '../common/machine.js'
import { middle } from '../common/numbers.js'
import {
  type Moments,
  moments,
  type PatternName,
  patternNames,
  settings,
  type VmFaultRow,
  type WayName,
  wayNames,
} from './vm-fault-rows.js'

/** What goes into docs/results/faults.md of real VMs. */
export function vmFaultsParts(rows: readonly VmFaultRow[], firecracker: string) {
  const load = middle(rows.map((row) => row.load)).toFixed(1)
  return {
    'vm machine': `${rows.length} rounds, Firecracker ${firecracker}, load ${load} in the median. ${machineText()}. Raw rows: [vm-faults.jsonl](vm-faults.jsonl).`,
    'vm table': table(rows),
  }
}

/** A line for each figure that the rows have. */
function table(rows: readonly VmFaultRow[]): string {
  const line = (name: string, of: (row: VmFaultRow) => number | undefined) => {
    const values = rows.flatMap((row) => of(row) ?? [])
    if (values.length === 0) return []
    const [low, half, high] = [0.25, 0.5, 0.75].map((share) => threeDigits(nearestRank(values, share)))
    return [`| ${name} | ${half} | ${low} to ${high} |`]
  }
  return [
    '| what | median | quartiles |',
    '|---|---:|---:|',
    ...patternNames.flatMap((pattern) => [
      ...wayNames.flatMap((way) => line(`${pattern}, ${shown[way]}, ms`, (row) => row[pattern]?.[way])),
      ...examples.flatMap((example) =>
        line(`${pattern}, beyond vanilla, ${shown[example]} over \`paged\``, beyond(pattern, example)),
      ),
    ]),
    ...moments.flatMap((moment) => [
      ...settings.flatMap((set) =>
        line(`eight, ${moment}, ${set} ${set === 'with' ? 'the' : 'a'} set, ms`, (row) => row[set]?.[moment]),
      ),
      ...line(`eight, ${moment}, with over without`, ratio(moment)),
    ]),
  ].join('\n')
}

const examples = ['example in C', 'example'] as const
const shown: Readonly<Record<WayName, string>> = {
  vanilla: 'vanilla (flat file)',
  'example in C': '`example` in C',
  example: 'Firecracker’s example (`--example`)',
  paged: '`paged`',
  huge: '`paged`, a guest on huge pages (`--huge`)',
}

const threeDigits = (value: number): string =>
  value < 10 ? value.toFixed(2) : Number(value.toPrecision(3)).toLocaleString('en')

const beyond =
  (pattern: PatternName, example: WayName) =>
  ({ [pattern]: of }: VmFaultRow): number | undefined => {
    const [vanilla, theirs, paged] = [of?.vanilla, of?.[example], of?.paged]
    return vanilla === undefined || theirs === undefined || paged === undefined
      ? undefined
      : (theirs - vanilla) / (paged - vanilla)
  }

const ratio = (moment: keyof Moments) => (row: VmFaultRow) =>
  row.with === undefined || row.without === undefined ? undefined : row.with[moment] / row.without[moment]
