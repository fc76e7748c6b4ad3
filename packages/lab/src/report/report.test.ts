import { describe, expect, test } from 'vitest'
import type { CellRow, ExperimentRows, HeaderRow } from '../experiments/rows.js'
import { rowsToCsv } from './csv.js'
import { findingsOf } from './findings.js'
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

const cells = [
  ...rounds('warm', 'warm VM', [50, 51, 52]),
  ...rounds('warm', 'vanilla', [100, 102, 104], {
    also: { majorFaults: 0, privateBytes: 4096, fileBytes: 8192 },
  }),
  ...rounds('warm', 'paged', [300, 310, 320], { also: { uffdFaults: 2000 } }),
  ...rounds('warm', 'mapped', [80, 81, 82]),
  ...rounds('cold', 'vanilla', [400, 404, 408], { also: { majorFaults: 1500 } }),
  ...rounds('cold', 'paged', [900, 909, 918], { also: { uffdFaults: 2000, majorFaults: 0 } }),
  ...rounds('cold', 'mapped', [200, 202, 204], { also: { majorFaults: 100 } }),
]
const rows: ExperimentRows = { header, cells, sets: [] }

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
    expect(line(0, 'mapped').ratioHere).toEqual({ ratio: 0.5, interval: [0.5, 0.5], rounds: 3 })
    expect(line(1, 'mapped').ratio?.ratio).toBeCloseTo(81 / 102)
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
    expect(found).toMatchObject({ rounds: 5, wrong: 2, failure: 'HOST_UNSUPPORTED: no ptrace' })
    expect(found?.values).toEqual([80, 81, 82])
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
      'mapped is first with 81.0 ms: 0.79× [0.79–0.80] of vanilla, cache warm, less beyond doubt.',
    )
    expect(cold?.best).toMatch(/^mapped is first with 202 ms: 0\.50× \[0\.50–0\.50\] of vanilla here; 1\.98×/)
  })

  test('name what lost, and the counter that tells why', () => {
    expect(warm?.lost.map(({ name }) => name)).toEqual(['paged'])
    expect(warm?.lost[0]?.by).toMatch(/^3\.04× \[.*\] of vanilla, cache warm$/)
    expect(warm?.lost[0]?.why[0]).toMatch(/^2,000 faults went to the page server and back/)
    expect(cold?.lost.map(({ name }) => name)).toEqual(['paged'])
  })

  test('of an emulated run name waits, which are exact, and not times, which are not', () => {
    const [there, here] = findingsOf(summarise(emulated))
    expect(there?.best).toBe(
      'mapped waits for the fewest pages: 100, from disk or page server, against 1,500 of vanilla.',
    )
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

describe('a report', () => {
  test('warns that nested times are not speeds, and a native one does not', () => {
    expect(renderReport(emulated)).toContain('its times are not speeds')
    expect(renderReport(rows)).not.toContain('not speeds')
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
    })
    expect(report).not.toMatch(/<(img src=http|script)/)
    // No element names a place elsewhere.
    expect(report).not.toMatch(/<[^>]*https?:/)
    expect(report).toContain('&#60;script&#62;')
    expect(report).toContain("default-src 'none'")
  })

  test('of an experiment without a finished cell says so', () => {
    const report = renderReport({ header, cells: [], sets: [] })
    expect(report).toContain('No cell is finished yet')
    expect(textSummary({ header, cells: [], sets: [] })).toBe('')
  })
})

test('CSV has a line a cell, and no formulas', () => {
  const [first = '', ...rest] = rowsToCsv({
    ...rows,
    cells: [{ ...(cells[0] as CellRow), failure: '=1+1, "quoted"' }, ...cells.slice(1)],
  }).split('\r\n')
  expect(first).toBe(
    'at,round,memoryMib,cache,restore,correct,failure,tookMs,restoredMs,firstMs,totalMs,majorFaults,privateBytes,fileBytes,uffdFaults,phase load ms',
  )
  expect(rest).toHaveLength(cells.length + 1)
  expect(rest[0]).toBe(`${cells[0]?.at},1,512,warm,warm VM,true,"'=1+1, ""quoted""",50,10,12,50,,,,,8`)
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
