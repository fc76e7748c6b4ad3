import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { SnapshotRow } from './snapshot-row.js'
import { rowCells, rowHeader, rowRight } from './snapshot-row.js'
import { snapshotTree } from './snapshot-tree.js'
import { table } from './text.js'

const row = (id: string, parent: string | null, more: Partial<SnapshotRow> = {}): SnapshotRow => ({
  id,
  parent,
  tags: [id],
  createdAt: '2026-01-31T12:00:00.000Z',
  kind: 'diff',
  memoryPages: 8192,
  dataBytes: 2 ** 20,
  layers: 1,
  labels: {},
  error: null,
  ...more,
})
const drawn = (rows: readonly SnapshotRow[]) => snapshotTree(rows).map(({ row: { id }, mark }) => mark + id)

describe('tree', () => {
  test('a line is no staircase, and only its first snapshot looks like a root', () => {
    expect(drawn([row('a', null), row('b', 'a')])).toEqual(['a', '└ b'])
    expect(drawn([row('a', null), row('b', 'a'), row('c', 'b')])).toEqual(['a', '└ b', '  c'])
  })

  test('two children, the last one drawn as a child too', () => {
    expect(drawn([row('a', null), row('b', 'a'), row('c', 'a')])).toEqual(['a', '├ c', '└ b'])
  })

  test('side lines of a side line, and of the main one', () => {
    const rows = [
      row('base', null),
      row('try', 'base'),
      row('try-a', 'try'),
      row('try-b', 'try'),
      row('day-1', 'base'),
      row('day-1x', 'day-1'),
      row('day-1x2', 'day-1x'),
      row('day-2', 'day-1'),
      row('day-3', 'day-2'),
      row('day-4', 'day-3'),
    ]
    expect(drawn(rows)).toEqual([
      'base',
      '├ try',
      '│ ├ try-b',
      '│ try-a',
      '└ day-1',
      '  ├ day-1x',
      '  │ day-1x2',
      '  day-2',
      '  day-3',
      '  day-4',
    ])
  })

  test('however deep the branches, a name keeps room', () => {
    const rows = [row('s0', null)]
    // Each has a side child that goes on, and a longer line that keeps the side child from being the main
    // one.
    for (let i = 1; i < 40; i++) {
      rows.push(row(`s${i}`, `s${i - 1}`))
      for (let j = 0; j < 100 - 2 * i; j++)
        rows.push(row(`m${i}-${j}`, j === 0 ? `s${i - 1}` : `m${i}-${j - 1}`))
    }
    const marks = snapshotTree(rows).map(({ mark }) => mark.length)
    expect(Math.max(...marks)).toBe(16)
  })

  test('side lines are set in, and the longest goes on', () => {
    const rows = [
      row('base', null),
      row('try-1', 'base'),
      row('day-1', 'base'),
      row('try-2', 'base'),
      row('try-2b', 'try-2'),
      row('day-2', 'day-1'),
      row('day-3', 'day-2'),
      row('other', null),
    ]
    expect(drawn(rows)).toEqual([
      'base',
      '├ try-1',
      '├ try-2',
      '│ try-2b',
      '└ day-1',
      '  day-2',
      '  day-3',
      'other',
    ])
    expect(
      snapshotTree(rows)
        .filter(({ root }) => root)
        .map((it) => it.row.id),
    ).toEqual(['base', 'other'])
  })

  test('a snapshot whose parent is gone begins a tree', () => {
    expect(drawn([row('b', 'gone'), row('c', 'b')])).toEqual(['b', '└ c'])
  })

  test('parents that lead round in a circle are shown once each', () => {
    expect(drawn([row('a', 'b'), row('b', 'a'), row('c', null)])).toEqual(['c', 'a', '└ b'])
  })

  test('every snapshot is there once, below its parent, however many there are', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(), { maxLength: 60 }), (parents) => {
        const rows = parents.map((n, i) => row(`s${i}`, i === 0 || n % 7 === 0 ? null : `s${n % i}`))
        const tree = snapshotTree(rows)
        for (const { mark, root } of tree) expect(mark === '').toBe(root)
        const order = tree.map((it) => it.row.id)
        expect([...order].sort()).toEqual(rows.map(({ id }) => id).sort())
        for (const { id, parent } of rows)
          if (parent !== null) expect(order.indexOf(id)).toBeGreaterThan(order.indexOf(parent))
      }),
    )
  })

  test('60,000 in a line', () => {
    const rows = Array.from({ length: 60_000 }, (_, i) => row(`s${i}`, i === 0 ? null : `s${i - 1}`))
    expect(drawn(rows).at(-1)).toBe('  s59999')
  })
})

describe('rows', () => {
  const id = '0123456789abcdef0123456789abcdef'
  const now = Date.parse('2026-01-31T15:00:00.000Z')

  test('cells', () => {
    expect(rowCells(row(id, 'f'.repeat(32), { tags: ['web', 'latest'] }), '├ ', now)).toEqual([
      '├ web, latest',
      '0123456789ab',
      'ffffffffffff',
      '3 h',
      '1.0 MiB',
      '1',
    ])
    expect(rowCells(row(id, null, { tags: [] }), '', now).slice(0, 3)).toEqual(['-', '0123456789ab', '-'])
  })

  test('what cannot be read is said to be damaged', () => {
    const damaged = row(id, null, { kind: null, memoryPages: null, dataBytes: null, layers: null })
    expect(rowCells(damaged, '', now).slice(4)).toEqual(['damaged', '-'])
  })

  test('no line is wider than 100 columns', () => {
    const long = row(id, id, {
      tags: ['x'.repeat(128), 'y'.repeat(128)],
      dataBytes: 2 ** 50 * 1000,
      layers: 1024,
      labels: {},
    })
    const text = table([rowHeader, rowCells(long, '│ '.repeat(8), now)], { right: rowRight })
    for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(100)
  })
})
