import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { isVarveError } from 'varve'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type ExplanationRow, explanationRow } from './explanation-row.js'
import { parseRows } from './parse-rows.js'
import type { CellRow, HeaderRow, SetRow } from './rows.js'
import { doneKey, RowsFile, readRows } from './rows-file.js'

const header: HeaderRow = {
  kind: 'experiment',
  version: 1,
  experiment: 'micro',
  question: 'Which is faster?',
  startedAt: '2026-01-02T03:04:05.000Z',
  seed: 1,
  plan: 'ab'.repeat(32),
  factors: { engine: ['vanilla', 'file'], setMib: [8, 24] },
  compare: { factor: 'engine', baseline: { engine: 'vanilla' } },
  environment: { lab: 'native', kernel: '6.1' },
}
const cell = (round: number, engine: string, setMib: number): CellRow => ({
  kind: 'cell',
  round,
  cell: { engine, setMib },
  at: round,
  tookMs: 12.5,
  correct: true,
  measures: { totalMs: 3.25 },
  phasesMs: { load: 1 },
})
const set: SetRow = { kind: 'set', name: 'a', about: { setMib: 8 }, workingSet: 'AAAA', zero: [[1, 2]] }
const explanation: ExplanationRow = {
  kind: 'explanation',
  name: 'a',
  about: { setMib: 8 },
  explanation: {
    pages: 30,
    writtenPages: 12,
    unexplainedPages: 10,
    owners: [
      {
        part: 'heap',
        name: '',
        processes: [{ pid: 7, name: 'python3' }],
        pages: 20,
        writtenPages: 12,
      },
      { part: 'unexplained', name: '', processes: [], pages: 10, writtenPages: 0 },
    ],
    skipped: 0,
    hasFrameFlags: true,
  },
}
const but = (change: object) => ({ ...explanation, explanation: { ...explanation.explanation, ...change } })
const lines = (...rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('')
const parse = (text: string) => parseRows(Buffer.from(text), 'rows')

describe('a file of rows', () => {
  test('gives back what was written, and ignores kinds and members that it does not know', () => {
    const text = lines(
      header,
      { ...cell(1, 'file', 8), colour: 'red' },
      { kind: 'weather', rain: 1 },
      set,
      explanation,
    )
    expect(parse(text)).toEqual({
      header,
      cells: [cell(1, 'file', 8)],
      sets: [set],
      explanations: [explanation],
      wholeBytes: Buffer.byteLength(text),
    })
  })

  test('may have been cut anywhere behind its first line: whole lines count, the rest is dropped', () => {
    const whole = [lines(header), lines(cell(1, 'file', 8)), lines(cell(1, 'vanilla', 8))]
    const text = whole.join('')
    for (let end = (whole[0] as string).length; end <= text.length; end++) {
      const { cells, wholeBytes } = parse(text.slice(0, end))
      expect(text[wholeBytes - 1]).toBe('\n')
      expect(cells.length).toBe(text.slice(0, end).split('\n').length - 2)
    }
  })

  test.each([
    ['', 'no whole line'],
    ['{"kind":"experiment"', 'no whole line'],
    ['hello\n', 'line 1: it is not JSON'],
    ['[]\n', 'line 1: it is not an object'],
    [lines(cell(1, 'file', 8)), 'line 1: it is not the first line'],
    [lines({ ...header, version: 0 }), 'version is not 1'],
    [lines({ ...header, plan: 'x' }), 'plan is not 64 hex digits'],
    [lines({ ...header, factors: { engine: 'file' } }), 'factor engine is not a list'],
    [lines({ ...header, compare: { factor: 'toString', baseline: {} } }), 'not a factor'],
    [lines({ ...header, environment: { kernel: 6 } }), 'environment.kernel is not a text'],
    [lines(header, { ...cell(1, 'file', 8), cell: { engine: 'file' } }), 'line 2: its cell does not have'],
    [lines(header, { ...cell(1, 'file', 8), round: -1 }), 'round is not a whole number'],
    [lines(header, { ...cell(1, 'file', 8), measures: { a: 'b' } }), 'measures.a is not a number'],
    [lines(header, { ...cell(1, 'file', 8), correct: 1 }), 'correct is not'],
    [lines(header, { ...cell(1, 'file', 8), load: 'high' }), 'load is not a number'],
    // Two files joined: rows of two disks, perhaps.
    [lines(header, cell(1, 'file', 8), header), 'line 3: it is a second header'],
    [lines(header, { ...set, workingSet: '<script>' }), 'not base64'],
    [
      lines(header, {
        ...set,
        zero: [
          [5, 2],
          [6, 1],
        ],
      }),
      'ascending, separate runs',
    ],
    [lines(header, { ...explanation, explanation: [] }), 'line 2: explanation is not an object'],
    [lines(header, but({ pages: 31 })), 'explanation.pages is not 30, to which its owners add up'],
    [lines(header, but({ owners: [{ part: 'magic' }] })), 'the part of an owner is none'],
    [lines(header, but({ owners: 'all' })), 'explanation.owners is not a list of at most 4096'],
    [lines(header, but({ hasFrameFlags: 1 })), 'hasFrameFlags is not'],
    [lines(header, { ...explanation, name: 'x'.repeat(129) }), 'more than 128 characters'],
    [`${lines(header)}\n`, 'line 2: it is not JSON'],
  ])('%j is refused', (text, message) => {
    expect(() => parse(text)).toThrow(message)
    expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'FORMAT_INVALID' }))
  })

  test('of a later version is unsupported, not invalid', () => {
    expect(() => parse(lines({ ...header, version: 2 }))).toThrow(
      expect.objectContaining({ code: 'FORMAT_UNSUPPORTED' }),
    )
  })

  test('that anything may have happened to gives rows or a VarveError, and nothing else', () => {
    const good = Buffer.from(lines(header, cell(1, 'file', 8), set, explanation))
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 4 }),
        fc.jsonValue({ maxDepth: 3 }),
        (changes, extra) => {
          const bytes = Buffer.concat([good, Buffer.from(`${JSON.stringify(extra)}\n`)])
          for (const [at, value] of changes) bytes[at] = value
          try {
            parseRows(bytes, 'rows')
          } catch (error) {
            expect(isVarveError(error)).toBe(true)
          }
        },
      ),
    )
  })
})

test('of more owners than a report shows the smallest are added up by their part', () => {
  const owners = Array.from({ length: 1000 }, (_, n) => ({
    part: n % 2 === 0 ? ('file' as const) : ('heap' as const),
    name: n % 2 === 0 ? `/lib/${n}` : '',
    processes: Array.from({ length: 1000 }, (_, pid) => ({ pid, name: 'sh' })),
    pages: 1000 - n,
    writtenPages: 1,
  }))
  const pages = owners.reduce((sum, it) => sum + it.pages, 0)
  const all = { pages, writtenPages: 1000, unexplainedPages: 0, owners, skipped: 0, hasFrameFlags: true }
  const row = explanationRow('many', {}, all)
  const { explanation: kept } = parse(lines(header, row)).explanations[0] as ExplanationRow
  expect(kept).toEqual(row.explanation)
  expect(kept.owners).toHaveLength(256 + 2)
  expect(kept.owners[0]).toMatchObject({ part: 'file', name: '(smaller ones)', writtenPages: 372 })
  expect(kept.owners.at(-1)).toMatchObject({ name: '', pages: 1000 - 255 })
  expect(kept.owners.at(-1)?.processes).toHaveLength(64)
})

describe('writing rows', () => {
  let directory: string
  let path: string
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'varve-rows-'))
    path = join(directory, 'rows.jsonl')
  })
  afterEach(() => rmSync(directory, { recursive: true }))

  const write = async (...cells: readonly CellRow[]) => {
    await using file = await RowsFile.open(path)
    await file.begin(header)
    for (const row of cells) await file.add(row)
    return [...file.done]
  }

  test('goes on where an earlier run ended, and finishes no cell twice', async () => {
    await write(cell(1, 'file', 8))
    const done = await write(cell(1, 'file', 8), cell(1, 'vanilla', 8))
    expect(done).toEqual([doneKey(cell(1, 'file', 8)), doneKey(cell(1, 'vanilla', 8))])
    expect(readFileSync(path, 'utf8')).toBe(lines(header, cell(1, 'file', 8), cell(1, 'vanilla', 8)))
  })

  test('measures the cell of a cut line again', async () => {
    await write(cell(1, 'file', 8))
    appendFileSync(path, lines(cell(1, 'vanilla', 8)).slice(0, 30))
    expect(await write(cell(2, 'file', 8))).toEqual([
      doneKey(cell(1, 'file', 8)),
      doneKey(cell(2, 'file', 8)),
    ])
    expect((await readRows(path)).cells).toEqual([cell(1, 'file', 8), cell(2, 'file', 8)])
  })

  test('begins anew where not even the header is whole', async () => {
    writeFileSync(path, lines(header).slice(0, 25))
    await write(cell(1, 'file', 8))
    expect((await readRows(path)).cells).toHaveLength(1)
  })

  test('keeps one set and one explanation of a name', async () => {
    await using file = await RowsFile.open(path)
    await file.begin(header)
    await file.add(set)
    await file.add({ ...set, workingSet: 'BBBB' })
    await file.add(explanation)
    await file.add({ ...explanation, about: {} })
    const { sets, explanations } = await readRows(path)
    expect({ sets, explanations }).toEqual({ sets: [set], explanations: [explanation] })
  })

  test.each([
    ['another plan', { plan: 'cd'.repeat(32) }, 'whose plan'],
    ['another kernel', { environment: { lab: 'native', kernel: '6.2' } }, 'kernel (6.1 there, 6.2 here)'],
    [
      'another disk',
      { environment: { lab: 'native', kernel: '6.1', readAheadKib: '128' } },
      'readAheadKib (not noted there, 128 here)',
    ],
    [
      'another kind of lab',
      { environment: { lab: 'nested', kernel: '6.1' } },
      'lab (native there, nested here)',
    ],
  ])('refuses rows of %s', async (_, change, message) => {
    await write(cell(1, 'file', 8))
    const before = readFileSync(path)
    await using file = await RowsFile.open(path)
    const begin = file.begin({ ...header, ...change })
    await expect(begin).rejects.toThrow(message)
    await expect(begin).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    expect(readFileSync(path)).toEqual(before)
  })

  test('takes rows of another load of the machine, which is no other environment', async () => {
    await write(cell(1, 'file', 8))
    await using file = await RowsFile.open(path)
    await file.begin({ ...header, environment: { ...header.environment, load: '7.00' } })
  })

  test('is one run’s at a time', async () => {
    {
      await using file = await RowsFile.open(path)
      await file.begin(header)
      await expect(RowsFile.open(path)).rejects.toThrow('another run writes')
    }
    expect(await write(cell(1, 'file', 8))).toHaveLength(1)
  })

  test('leaves a file alone that holds something else', async () => {
    writeFileSync(path, 'my diary')
    await expect(RowsFile.open(path)).rejects.toMatchObject({ code: 'ALREADY_EXISTS' })
    writeFileSync(path, 'my diary\nof two lines\n')
    await expect(RowsFile.open(path)).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
    expect(readFileSync(path, 'utf8')).toBe('my diary\nof two lines\n')
  })
})
