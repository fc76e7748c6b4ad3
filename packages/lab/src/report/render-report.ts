import type { ExperimentRows } from '../experiments/rows.js'
import { leastRounds } from '../statistics/paired-ratio.js'
import { findingsOf, lostBeyond, type PlaceFindings } from './findings.js'
import { definitionList, escapeHtml, factList } from './html.js'
import { ownersSection } from './owner-sections.js'
import { page } from './page.js'
import { places } from './place-sections.js'
import { overlapSection, pictures } from './set-sections.js'
import { recordedSets } from './sets.js'
import { factorText, type Summary, summarise } from './summarise.js'
import { measureName } from './units.js'

/** The report of an experiment, as one page. */
export function renderReport(rows: ExperimentRows): string {
  const summary = summarise(rows)
  const findings = findingsOf(summary)
  const sets = recordedSets(rows.sets)
  return page(rows.header.experiment, [
    opening(rows, summary),
    inShort(findings, summary),
    ...places(summary, findings),
    whatLost(findings),
    pictures(sets),
    overlapSection(sets),
    ownersSection(rows.explanations),
    howToRead(summary),
    environment(rows),
  ])
}

function opening({ header, cells }: ExperimentRows, { rounds, fixed }: Summary): string {
  const { environment: of, experiment, question, startedAt } = header
  const wrong = cells.filter(({ correct }) => !correct).length
  const nested =
    of.lab === 'nested'
      ? `<p class="warn"><b>From the nested lab${of.accelerator === 'tcg' ? ', emulated' : ''}: its times are not speeds.</b> Page counts are the same as on any machine. Times only show the order of events; on real hardware even the order of two ways may differ. If a set is brought alongside the guest, guest and engine race for each page, so the counts of waits (faults of the disk and of the page server) and of bytes read vary from run to run.</p>`
      : ''
  const facts = [
    ['cells', cells.length.toLocaleString('en-US')],
    ['rounds', String(rounds)],
    ['wrong or failed', String(wrong)],
    ['Firecracker', of.firecracker ?? '?'],
    // Rows of Varve 0.1.0 from an emulated lab say ‘hardware’, for the processor that QEMU plays.
    ['KVM', of.accelerator === 'tcg' && of.kvm === 'hardware' ? 'emulated by QEMU' : (of.kvm ?? '?')],
    ['disk', diskText(of)],
    ...loadFact(cells),
    ['CPU', `${of.cpus ?? '?'} × ${of.cpu ?? '?'}`],
    ['kernel', of.kernel ?? '?'],
    ...Object.entries(fixed).map(([name, value]) => ['always', factorText(name, value)]),
  ]
  return `<h1>${escapeHtml(experiment)}</h1><p class="lead">${escapeHtml(question)}</p>
${factList(startedAt, facts)}
${nested}${of.dropsCache === 'no' ? '<p class="warn"><b>Nothing here is cold.</b> The files lay on a file system whose pages stay in the page cache; cold cells failed.</p>' : ''}${cells.length === 0 ? '<p class="warn">No cell is finished yet.</p>' : ''}`
}

function diskText({ fileSystem, device, readAheadKib }: ExperimentRows['header']['environment']): string {
  if (fileSystem === undefined) return 'not noted'
  return `${fileSystem} on ${device}, read-ahead ${readAheadKib} KiB`
}

function loadFact(cells: ExperimentRows['cells']): [string, string][] {
  const loads = cells.flatMap(({ load }) => load ?? [])
  if (loads.length === 0) return []
  return [['load meanwhile', `${Math.min(...loads).toFixed(1)} to ${Math.max(...loads).toFixed(1)}`]]
}

function inShort(findings: readonly PlaceFindings[], { baseline, emulated, judged }: Summary): string {
  const items = findings.flatMap(({ place, best }) =>
    best === null
      ? []
      : [`<li>${place === '' ? '' : `<b>${escapeHtml(place)}:</b> `}${escapeHtml(best)}</li>`],
  )
  const against = emulated
    ? ''
    : `<p class="soft">Ratios are medians of the rounds’ ratios, against <b>${escapeHtml(baseline)}</b>; in square brackets their 95 % intervals, in round ones all rounds, where they are fewer than ${leastRounds}. ${judgedText(judged)}</p>`
  return items.length === 0 ? '' : `<h2>In short</h2>${against}<ul class="findings">${items.join('')}</ul>`
}

const judgedText = (judged: number) =>
  judged === 0
    ? `No ratio has the ${leastRounds} rounds that a verdict needs.`
    : `A difference is <i>shown</i> if it would come by chance, in any of this report’s ${judged} ratios, in at most 1 of 20 such reports.`

function whatLost(findings: readonly PlaceFindings[]): string {
  const all = findings.filter(({ lost }) => lost.length > 0)
  if (all.length === 0) return ''
  const items = all.map(
    ({ place, lost }) =>
      `${place === '' ? '' : `<h3>${escapeHtml(place)}</h3>`}<ul class="findings">${lost
        .map(
          (it) =>
            `<li><b>${escapeHtml(it.name)}</b>, ${escapeHtml(it.by)}${it.why.length === 0 ? '' : `: ${escapeHtml(it.why.join('; '))}`}.</li>`,
        )
        .join('')}</ul>`,
  )
  return `<h2>What lost, and why</h2><p class="soft">What took more than ${lostBeyond}× of Firecracker without Varve in the same place (median of the rounds’ ratios), if a difference is shown; and what failed or answered wrong. Reasons are read off the counters by fixed rules.</p>${items.join('')}`
}

function howToRead({ measure, baseline, baselineHere, judged }: Summary): string {
  return `<h2>How to read this</h2><ul class="findings small">
<li><b>${escapeHtml(measureName(measure))}</b> is the median of all rounds; p90 and p99 are nearest-rank, so with few rounds p99 is the worst one. No round is left out.</li>
<li><b>of ${escapeHtml(baseline)}</b> is the median of the ratios against that baseline in the same round. In square brackets: the interval that holds the true median ratio in at least 95 of 100 such experiments, for this ratio alone. Fewer than ${leastRounds} rounds have no such interval: in round brackets are the smallest and the largest ratio. The mark runs from ¼ to 4.</li>
<li>A mark is green (less) or red (more) if a difference is <b>shown</b>: the interval leaves out 1, and a test of all ${judged} ratios of this report together (randomisation within rounds, step-down max T) keeps the chance of any wrong verdict at 5 %. The others are grey: <i>no difference shown</i>. That does not say that there is none; more rounds find smaller ones.</li>
<li>Lines in grey are from another place, shown for comparison; <b>of ${escapeHtml(baselineHere)} here</b> is against ${escapeHtml(baselineHere)} in the same place.</li>
<li>Faults are of the VMM: <i>minor</i> found its page in memory, <i>major</i> waited for a disk, <i>uffd</i> was served by the page server. Where every instruction is emulated in software, the guest’s own work is slow and hides differences.</li>
<li>Everything here is made from <code>rows.jsonl</code> (docs/formats/experiment-rows-v1.md); <code>rows.csv</code> has the same numbers.</li></ul>`
}

function environment({ header }: ExperimentRows): string {
  const rows = [
    ...Object.entries(header.environment),
    ['seed', String(header.seed)],
    ['plan', header.plan],
    ...Object.entries(header.factors).map(([factor, values]) => [
      `factor ${factor}`,
      values.map(String).join(' | '),
    ]),
  ]
  return `<h2>Where and what</h2>${definitionList(rows)}`
}
