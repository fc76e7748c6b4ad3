import { leastRounds, type PairedRatio } from '../statistics/paired-ratio.js'
import type { Compared, Line, Place, Summary } from './summarise.js'
import { bytesText, measureText, msText, ratioText } from './units.js'

export interface PlaceFindings {
  readonly place: string
  /** The best contender here, against the baseline. */
  readonly best: string | null
  /**
   * Each contender that is slower than doing without Varve in the same place, and
   * why as far as the numbers tell.
   */
  readonly lost: readonly { readonly name: string; readonly by: string; readonly why: readonly string[] }[]
}

/**
 * A way has lost if it took more than this ratio of Firecracker without Varve and a difference is shown: a
 * user would notice it.
 */
export const lostBeyond = 1.1

/** Whether such a comparison is one of `lostOf`; the report gives this rule in words, above what it lists. */
const isLost = ({ ratio, shown }: Compared): boolean => shown === 'more' && ratio > lostBeyond

/** What the numbers say in words, by fixed rules: the same for any experiment that has these measures. */
export function findingsOf(summary: Summary): PlaceFindings[] {
  // Of times, less is better; of pages or bytes only the reader can say.
  const timed = summary.measure.endsWith('Ms')
  const best = summary.emulated ? fewestWaits : bestOf
  return summary.places.map((place) => ({
    place: place.name,
    best: timed ? best(place, summary) : null,
    lost: lostOf(place, { ...summary, emulated: summary.emulated || !timed }),
  }))
}

const isRestore = (line: Line) =>
  !line.reference && line.values.length > 0 && !/^(warm VM|cold boot)/.test(line.name)
const middle = (line: Line | undefined, name: string) => line?.measures[name]?.median

function bestOf(place: Place, { measure, baselineHere, baseline }: Summary): string | null {
  const lines = place.lines.filter((line) => isRestore(line) && line.wrong === 0)
  const [best] = [...lines].sort((a, b) => (middle(a, measure) ?? 0) - (middle(b, measure) ?? 0))
  const value = middle(best, measure)
  if (best === undefined || value === undefined || lines.length < 2) return null
  if (best.baseline)
    return `nothing has a lower median than ${best.name}, the baseline, with ${measureText(measure, value)}.`
  const ratios = [
    ...(best.ratioHere === null ? [] : [compared(best.ratioHere, `${baselineHere} here`)]),
    ...(best.ratio === null ? [] : [compared(best.ratio, baseline)]),
  ]
  return `${best.name} has the lowest median, ${measureText(measure, value)}${ratios.length === 0 ? '' : `: ${ratios.join('; ')}`}.`
}

const compared = (ratio: Compared, than: string) => `${intervalText(ratio)} of ${than} (${verdict(ratio)})`

/**
 * A count that is meaningful under emulation too: how often the guest had to wait for a page. If a set is
 * brought alongside, guest and engine race for each page, so the count is given with its spread.
 */
function fewestWaits(place: Place, { baselineHere, factor }: Summary): string | null {
  const lines = place.lines.filter((line) => isRestore(line) && line.wrong === 0)
  const without = lines.find((line) => String(line.cell[factor]) === baselineHere)
  const [best] = [...lines].sort((a, b) => waits(a) - waits(b))
  if (best === undefined || without === undefined || waits(without) === 0) return null
  const count = (value: number) => Math.round(value).toLocaleString('en-US')
  const text = (line: Line) => {
    const [least, most] = [waits(line, 'min'), waits(line, 'max')]
    if (line.rounds < 2) return `${count(waits(line))} in one round`
    return least === most
      ? `${count(least)} in each of ${line.rounds} rounds`
      : `${count(waits(line))} (${count(least)} to ${count(most)} in ${line.rounds} rounds)`
  }
  if (best === without) return `no engine waits for fewer pages than ${baselineHere}, with ${text(best)}.`
  return `${best.name} waits for the fewest pages: ${text(best)}, from disk or page server, against ${text(without)} of ${baselineHere}.`
}

/** Newer kernels count a fault that a page server answers as a major one as well. */
const waits = (line: Line, of: 'median' | 'min' | 'max' = 'median'): number =>
  Math.max(line.measures.majorFaults?.[of] ?? 0, line.measures.uffdFaults?.[of] ?? 0)

/** Words only as strong as the test: docs/guides/experiments.md, Statistics. */
export function verdict({ rounds, shown }: Compared): string {
  if (shown !== null) return `${shown}, as ${rounds} rounds show`
  const by = rounds === 1 ? '1 round' : `${rounds} rounds`
  return rounds < leastRounds ? `no verdict: ${by}, it needs ${leastRounds}` : `no difference shown by ${by}`
}

/** With the interval if there is one, otherwise with the smallest and largest ratio. */
export function intervalText({ ratio, interval, range, rounds }: PairedRatio): string {
  const [low, high] = interval ?? (rounds > 1 ? range : null) ?? []
  if (low === undefined || high === undefined) return ratioText(ratio)
  const ends = `${low.toFixed(2)}–${high.toFixed(2)}`
  return `${ratioText(ratio)} ${interval === null ? `(${ends})` : `[${ends}]`}`
}

function lostOf(
  place: Place,
  { measure, factor, baseline, baselineHere, emulated }: Summary,
): PlaceFindings['lost'] {
  const without = place.lines.find(
    (line) => !line.reference && (line.baseline || String(line.cell[factor]) === baselineHere),
  )
  const found = []
  for (const line of place.lines.filter(({ reference }) => !reference)) {
    if (line.wrong > 0)
      found.push({
        name: line.name,
        by: `${line.wrong} of ${line.rounds} rounds failed or answered wrong`,
        why: line.failure === null ? [] : [line.failure],
      })
    if (emulated) continue
    const ratio = line.ratioHere ?? line.ratio
    // What all are held against cannot lose against itself, cold or warm.
    if (line === without || !isRestore(line) || ratio === null || !isLost(ratio)) continue
    const than = line.ratioHere === null ? baseline : baselineHere
    found.push({
      name: line.name,
      by: `${intervalText(ratio)} of ${than}`,
      why: reasons(line, without, measure),
    })
  }
  return found
}

/** Each is a fact of the rows, and is only named if it is large enough to matter. */
function reasons(line: Line, without: Line | undefined, measure: string): string[] {
  const total = middle(line, measure) ?? 0
  const lost = total - (middle(without, measure) ?? 0)
  const why: string[] = []
  const faults = middle(line, 'uffdFaults') ?? 0
  const wait = lost - Object.values(line.phasesMs).reduce((sum, ms) => sum + ms, 0)
  if (faults > 100)
    why.push(
      `${Math.round(faults).toLocaleString('en-US')} faults went to the page server and back, one by one${wait > 0 ? ` (about ${((1000 * Math.max(wait, 0)) / faults).toFixed(0)} µs each of what is lost)` : ''}`,
    )
  for (const [phase, ms] of Object.entries(line.phasesMs)) {
    const more = ms - (without?.phasesMs[phase] ?? 0)
    if (more > 0.25 * lost && more > 0.1 * total)
      why.push(`${msText(ms)} of ${msText(total)} went into ‘${phase}’, before the guest ran`)
  }
  const [major, theirs] = [middle(line, 'majorFaults') ?? 0, middle(without, 'majorFaults') ?? 0]
  if (faults === 0 && major > 100 && major > 1.1 * theirs)
    why.push(
      `${Math.round(major).toLocaleString('en-US')} faults waited for the disk, against ${Math.round(theirs).toLocaleString('en-US')}`,
    )
  const [read, theirRead] = [middle(line, 'deviceReadBytes'), middle(without, 'deviceReadBytes')]
  if (read !== undefined && theirRead !== undefined && read > 4 * 2 ** 20 && read > 1.5 * theirRead)
    why.push(`it read ${bytesText(read)} from disk, against ${bytesText(theirRead)}`)
  const set = (middle(line, 'setReadOnlyPages') ?? 0) + (middle(line, 'setWrittenPages') ?? 0)
  const [unused, missed] = [middle(line, 'unusedPages') ?? 0, middle(line, 'missedPages') ?? 0]
  if (unused > 0.2 * set && unused > 256)
    why.push(`${Math.round((100 * unused) / set)} % of its working set was not touched`)
  const vain = middle(line, 'prefetchedUnusedPages') ?? 0
  if (vain > 0.2 * (middle(line, 'prefetchedPages') ?? 0) && vain > 256)
    why.push(`at least ${Math.round(vain).toLocaleString('en-US')} pages were brought ahead in vain`)
  if (missed > 256)
    why.push(
      `${Math.round(missed).toLocaleString('en-US')} pages that it touched were not in its working set`,
    )
  return why.length === 0 ? ['none of the counters stands out: look at its phases and its distribution'] : why
}
