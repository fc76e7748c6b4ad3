import type { Explanation } from '@varve/guest'
import { describe, expect, test } from 'vitest'
import type { CellRow, ExperimentRows, HeaderRow } from '../experiments/rows.js'
import { rowsToCsv } from './csv.js'
import { findingsOf, intervalText, verdict } from './findings.js'
import { renderReport } from './render-report.js'
import { factorText, summarise } from './summarise.js'
import { textSummary } from './text-summary.js'

const header: HeaderRow = {
  kind: 'experiment',
  version: 1,
  experiment: 'engines',
  question: 'Which is faster?',
  startedAt: '2026-01-02T03:04:05.000Z',
  seed: 1,
  plan: '00'.repeat(32),
  factors: {
    memoryMib: [512],
    cache: ['cold', 'warm'],
    restore: ['warm VM', 'vanilla', 'paged', 'mapped'],
  },
  compare: { factor: 'restore', baseline: { restore: 'vanilla', cache: 'warm' } },
  environment: { lab: 'native', kernel: '6.1' },
}

let at = 0
const rounds = (
  cache: string,
  restore: string,
  totals: readonly number[],
  more: Partial<CellRow> & { readonly also?: Readonly<Record<string, number>> } = {},
): CellRow[] => {
  const { also, ...rest } = more
  return totals.map((totalMs, index) => ({
    kind: 'cell',
    round: index + 1,
    cell: { memoryMib: 512, cache, restore },
    at: at++,
    tookMs: totalMs,
    correct: true,
    measures: { restoredMs: 10, firstMs: 12, totalMs, ...also },
    phasesMs: { load: 8 },
    ...rest,
  }))
}

/** Six rounds around a median; `even` ones a little longer, so that not all ratios are one. */
const six = (median: number, even = 0) =>
  [-3, 3, -2, 2, -1, 1].map((percent, n) => median * (1 + percent / 100) * (n % 2 === 0 ? 1 : 1 + even))

const cellsOf = (of: (median: number, even?: number) => readonly number[]) => [
  ...rounds('warm', 'warm VM', of(51)),
  ...rounds('warm', 'vanilla', of(102), { also: { majorFaults: 0, privateBytes: 4096, fileBytes: 8192 } }),
  ...rounds('warm', 'paged', of(310), { also: { uffdFaults: 2000 } }),
  ...rounds('warm', 'mapped', of(81, 0.02)),
  ...rounds('cold', 'vanilla', of(404), { also: { majorFaults: 1500 } }),
  ...rounds('cold', 'paged', of(909), { also: { uffdFaults: 2000, majorFaults: 0 } }),
  ...rounds('cold', 'mapped', of(202), { also: { majorFaults: 100 } }),
]
const cells = cellsOf(six)
/** The same, but three rounds only. */
const few: ExperimentRows = {
  header,
  cells: cellsOf((median) => six(median).slice(0, 3).map(Math.round)),
  sets: [],
  explanations: [],
}
const rows: ExperimentRows = { header, cells, sets: [], explanations: [] }

const emulated: ExperimentRows = {
  ...rows,
  header: { ...header, environment: { lab: 'nested', accelerator: 'tcg' } },
}

describe('a summary', () => {
  const { places, fixed, baseline } = summarise(rows)
  const line = (place: number, name: string) => {
    const found = places[place]?.lines.find((it) => it.name === name)
    if (found === undefined) throw new Error(`no line ${name}`)
    return found
  }

  test('has a place for each combination of the other factors that vary', () => {
    expect(places.map(({ name }) => name)).toEqual(['cache cold', 'cache warm'])
    expect(fixed).toEqual({ memoryMib: 512 })
    expect(baseline).toBe('vanilla, cache warm')
  })

  test('holds each line against the baseline, and against what is like it in its place', () => {
    expect(line(0, 'mapped').ratio?.ratio).toBeCloseTo(202 / 102)
    expect(line(0, 'mapped').ratioHere).toMatchObject({ ratio: 0.5, interval: [0.5, 0.5], rounds: 6 })
    expect(line(1, 'mapped').ratio?.ratio).toBeCloseTo((81 / 102) * 1.01)
    // In the baseline's own place both are the same.
    expect(line(1, 'mapped').ratioHere).toBeNull()
    expect(line(1, 'vanilla')).toMatchObject({ baseline: true, ratio: null, reference: false })
  })

  test('shows the baseline, and what only runs where it does, in other places too', () => {
    expect(places[0]?.lines.filter(({ reference }) => reference).map(({ name }) => name)).toEqual([
      'warm VM, cache warm',
      'vanilla, cache warm',
    ])
    expect(places[1]?.lines.some(({ reference }) => reference)).toBe(false)
  })

  test('counts wrong answers as rounds, and failures as nothing but failures', () => {
    const failed = rounds('warm', 'mapped', [1, 1], {
      correct: false,
      failure: 'HOST_UNSUPPORTED: no ptrace',
      measures: {},
      round: 9,
    })
    const summary = summarise({ ...rows, cells: [...cells, ...failed] })
    const found = summary.places[1]?.lines.find(({ name }) => name === 'mapped')
    expect(found).toMatchObject({ rounds: 8, wrong: 2, failure: 'HOST_UNSUPPORTED: no ptrace' })
    expect(found?.values).toEqual(six(81, 0.02))
  })

  test('shows differences of six rounds on either side, and none of three, however large', () => {
    expect(line(0, 'mapped').ratioHere?.shown).toBe('less')
    expect(line(0, 'paged').ratioHere?.shown).toBe('more')
    const lines = summarise(few).places.flatMap((place) => place.lines)
    expect(lines.flatMap(({ ratio, ratioHere }) => [ratio?.shown ?? null, ratioHere?.shown ?? null])).toEqual(
      lines.flatMap(() => [null, null]),
    )
    expect(lines.find(({ name }) => name === 'paged')?.ratioHere).toMatchObject({
      interval: null,
      rounds: 3,
    })
  })

  test('judges every ratio once, though two places show the baseline', () => {
    // Four against vanilla, warm; two against vanilla, cold; and vanilla, cold, itself.
    expect(summarise(rows).judged).toBe(3 + 3 + 2)
    expect(summarise(few).judged).toBe(0)
  })

  test('of factors: the unit is the end of the name', () => {
    expect(factorText('setMib', 24)).toBe('set 24 MiB')
    expect(factorText('chainDepth', 3)).toBe('chain depth 3')
    expect(factorText('cache', 'cold')).toBe('cache cold')
  })
})

describe('findings', () => {
  const [cold, warm] = findingsOf(summarise(rows))

  test('name the first, and against what', () => {
    expect(warm?.best).toBe(
      'mapped has the lowest median, 81.8 ms: 0.80× [0.79–0.81] of vanilla, cache warm (less, as 6 rounds show).',
    )
    expect(cold?.best).toBe(
      'mapped has the lowest median, 202 ms: 0.50× [0.50–0.50] of vanilla here (less, as 6 rounds show); 1.98× [1.98–1.98] of vanilla, cache warm (more, as 6 rounds show).',
    )
  })

  test('say plainly that nothing is shown, and by how many rounds', () => {
    const [, there] = findingsOf(summarise(few))
    expect(there?.best).toBe(
      'mapped has the lowest median, 79.0 ms: 0.79× (0.79–0.80) of vanilla, cache warm (no verdict: 3 rounds, it needs 6).',
    )
    const like = rounds('warm', 'mapped', six(102).reverse())
    const others = cells.filter(({ cell }) => cell.cache !== 'warm' || cell.restore !== 'mapped')
    const alike = summarise({ ...rows, cells: [...others, ...like] })
    const ratio = alike.places[1]?.lines.find(({ name }) => name === 'mapped')?.ratio
    expect(ratio && `${intervalText(ratio)}, ${verdict(ratio)}`).toBe(
      '1.00× [0.96–1.04], no difference shown by 6 rounds',
    )
  })

  test('name what lost, and the counter that tells why', () => {
    expect(warm?.lost.map(({ name }) => name)).toEqual(['paged'])
    expect(warm?.lost[0]?.by).toBe('3.04× [3.04–3.04] of vanilla, cache warm')
    expect(warm?.lost[0]?.why[0]).toMatch(/^2,000 faults went to the page server and back/)
    expect(cold?.lost.map(({ name }) => name)).toEqual(['paged'])
  })

  test('list as lost by one rule, the one that the report gives: above 1.1×, and shown', () => {
    const with_ = (factor: number, spread: readonly number[]) =>
      rounds(
        'warm',
        'mapped',
        six(102).map((it, n) => it * factor * (1 + (spread[n] ?? 0))),
      )
    const others = cells.filter(({ cell }) => cell.cache !== 'warm' || cell.restore !== 'mapped')
    const lostBy = (more: readonly CellRow[]) =>
      findingsOf(summarise({ ...rows, cells: [...others, ...more] }))[1]?.lost.map(({ name }) => name)
    const steady = [0, 0.01, 0, 0.01, 0, 0.01]
    const wild = [-0.5, 0.5, -0.4, 0.6, 0, 0.1]
    expect(lostBy(with_(1.2, steady))).toEqual(['paged', 'mapped'])
    // Shown, but not above 1.1×; above it, but not shown; above it by three rounds.
    expect(lostBy(with_(1.05, steady))).toEqual(['paged'])
    expect(lostBy(with_(1.2, wild))).toEqual(['paged'])
    expect(lostBy(with_(1.2, steady).slice(0, 3))).toEqual(['paged'])
    expect(renderReport(rows)).toContain(
      'took more than 1.1× of Firecracker without Varve in the same place (median of the rounds’ ratios), if a difference is shown',
    )
  })

  test('of an emulated run name waits, with their spread, and not times', () => {
    const [there, here] = findingsOf(summarise(emulated))
    expect(there?.best).toBe(
      'mapped waits for the fewest pages: 100 in each of 6 rounds, from disk or page server, against 1,500 in each of 6 rounds of vanilla.',
    )
    const alongside = [31, 54, 40].map((majorFaults, n) => ({
      ...(rounds('cold', 'mapped', [1], { also: { majorFaults } })[0] as CellRow),
      round: n + 1,
    }))
    const others = cells.filter(({ cell }) => cell.cache !== 'cold' || cell.restore !== 'mapped')
    const [varied] = findingsOf(summarise({ ...emulated, cells: [...others, ...alongside] }))
    expect(varied?.best).toContain('mapped waits for the fewest pages: 40 (31 to 54 in 3 rounds)')
    // In the warm place vanilla waits for none.
    expect(here?.best).toBeNull()
    expect([there?.lost, here?.lost]).toEqual([[], []])
  })

  test('name what was wrong, though it was fast', () => {
    const wrong = rounds('warm', 'mapped', [1, 1, 1], { correct: false })
    const only = cells.filter(({ cell }) => cell.cache !== 'warm' || cell.restore !== 'mapped')
    const [, there] = findingsOf(summarise({ ...rows, cells: [...only, ...wrong] }))
    expect(there?.best).not.toContain('mapped')
    expect(there?.lost.at(-1)).toMatchObject({ name: 'mapped', by: '3 of 3 rounds failed or answered wrong' })
  })
})

/** Two processes of one name, which share a file and have memory of their own. */
const explanationOf = (name: string): Explanation => {
  const [a, b] = [
    { pid: 7, name },
    { pid: 9, name },
  ]
  return {
    pages: 1000,
    writtenPages: 300,
    unexplainedPages: 20,
    skipped: 0,
    hasFrameFlags: true,
    owners: [
      { part: 'file', name: `/usr/lib/${name}`, processes: [a, b], pages: 600, writtenPages: 0 },
      { part: 'anonymous', name: '', processes: [a], pages: 300, writtenPages: 280 },
      { part: 'kernel', name: 'slab', processes: [], pages: 77, writtenPages: 20 },
      { part: 'unexplained', name: '', processes: [], pages: 20, writtenPages: 0 },
      { part: 'stack', name: '', processes: [b], pages: 2, writtenPages: 0 },
      { part: 'stack', name: '', processes: [a], pages: 1, writtenPages: 0 },
    ],
  }
}

describe('a report', () => {
  test('of explained sets says who has their pages, and draws it', () => {
    const explained = (name: string) =>
      ({ kind: 'explanation', name, about: {}, explanation: explanationOf('python3') }) as const
    const report = renderReport({ ...rows, explanations: [explained('hello'), explained('json')] })
    expect(report).toContain('<h2>Who has the pages</h2>')
    expect(report).toContain('1,000 pages, 3.9 MiB, 30.0 % of them written, 2.0 % unexplained')
    expect(report).toMatch(/anonymous<\/th><td>30\.0 %<\/td><td>300<\/td><td>280</)
    expect(report).toContain(
      'file: /usr/lib/python3</th><td>60.0 %</td><td>600</td><td>0</td><td>python3 (7), python3 (9)<',
    )
    // As wide as its share of the box above it.
    expect(report).toContain(
      'style="width:30.100%"><span tabindex="0" title="python3 (7): 301 pages, 30.1 %"',
    )
    expect(report).toContain('style="width:99.668%"><span tabindex="0" title="anonymous: 300 pages, 30.0 %"')
    // What is too narrow to be seen is not a box of its own.
    expect(report).not.toContain('title="python3 (9)')
    expect(renderReport(rows)).not.toContain('Who has the pages')
  })

  test('warns that nested times are not speeds, and a native one does not', () => {
    expect(renderReport(emulated)).toContain('its times are not speeds')
    expect(renderReport(rows)).not.toContain('not speeds')
    expect(renderReport(emulated)).not.toContain('are exact')
  })

  test('says emulated where guest code was, in rows that call it hardware too', () => {
    const kvm = (environment: Readonly<Record<string, string>>) =>
      /<li>KVM <b>(.*?)<\/b>/.exec(renderReport({ ...rows, header: { ...header, environment } }))?.[1]
    expect(kvm({ lab: 'nested', accelerator: 'tcg', kvm: 'hardware' })).toBe('emulated by QEMU')
    expect(kvm({ lab: 'nested', accelerator: 'tcg', kvm: 'emulated by QEMU (SVM)' })).toBe(
      'emulated by QEMU (SVM)',
    )
    expect(kvm({ lab: 'native', kvm: 'hardware (VMX)' })).toBe('hardware (VMX)')
  })

  test('names the disk, its read-ahead and the load, and warns where nothing was cold', () => {
    const disk = { fileSystem: 'ext4', device: '7:0 /dev/loop0', readAheadKib: '128', dropsCache: 'yes' }
    const report = renderReport({
      ...rows,
      header: { ...header, environment: { ...header.environment, ...disk } },
      cells: cells.map((row, n) => ({ ...row, load: n })),
    })
    expect(report).toContain('<li>disk <b>ext4 on 7:0 /dev/loop0, read-ahead 128 KiB</b>')
    expect(report).toContain(`<li>load meanwhile <b>0.0 to ${cells.length - 1}.0</b>`)
    expect(report).not.toContain('Nothing here is cold')
    const never = { ...rows, header: { ...header, environment: { ...disk, dropsCache: 'no' } } }
    expect(renderReport(never)).toContain('Nothing here is cold')
    expect(renderReport(rows)).toContain('<li>disk <b>not noted</b>')
  })

  test('shows a file that says anything as text, and loads nothing', () => {
    const evil = '"><img src=http://evil.example/x onerror=alert(1)><script>'
    const restore = ['vanilla', evil]
    const report = renderReport({
      header: {
        ...header,
        question: evil,
        experiment: 'x',
        factors: { ...header.factors, restore, [evil]: [evil] },
        environment: { [evil]: evil, cpu: evil },
      },
      cells: rounds('warm', evil, [1, 2], { failure: evil, correct: false }).map((row) => ({
        ...row,
        cell: { ...row.cell, [evil]: evil },
        measures: { [evil]: 1, totalMs: 3 },
        phasesMs: { [evil]: 2 },
      })),
      sets: [],
      explanations: [{ kind: 'explanation', name: evil, about: {}, explanation: explanationOf(evil) }],
    })
    expect(report).not.toMatch(/<(img src=http|script)/)
    // No element names a place elsewhere, but in a text.
    expect(report.replace(/ (title|aria-label)="[^"]*"/g, '')).not.toMatch(/<[^>]*https?:/)
    expect(report).toContain('&#60;script&#62;')
    expect(report).toContain("default-src 'none'")
  })

  test('of an experiment without a finished cell says so', () => {
    const report = renderReport({ header, cells: [], sets: [], explanations: [] })
    expect(report).toContain('No cell is finished yet')
    expect(textSummary({ header, cells: [], sets: [], explanations: [] })).toBe('')
  })
})

test('CSV has a line a cell, and no formulas', () => {
  const [first = '', ...rest] = rowsToCsv({
    ...rows,
    cells: [
      { ...(rounds('warm', 'warm VM', [50])[0] as CellRow), at: 0, failure: '=1+1, "quoted"' },
      ...cells.slice(1),
    ],
  }).split('\r\n')
  expect(first).toBe(
    'at,round,memoryMib,cache,restore,correct,failure,tookMs,load,restoredMs,firstMs,totalMs,majorFaults,privateBytes,fileBytes,uffdFaults,phase load ms',
  )
  expect(rest).toHaveLength(cells.length + 1)
  expect(rest[0]).toBe(`0,1,512,warm,warm VM,true,"'=1+1, ""quoted""",50,,10,12,50,,,,,8`)
})

test('the summary for a terminal has no escapes of the file', () => {
  const cleared = '\u001b[2Jmapped'
  const told = textSummary({
    ...rows,
    header: { ...header, factors: { ...header.factors, restore: ['vanilla', cleared] } },
    cells: [...rounds('warm', 'vanilla', [1, 2]), ...rounds('warm', cleared, [3, 4])],
  })
  expect(told).toContain('\\u{1b}[2Jmapped')
  expect(told).not.toContain('\u001b')
})
