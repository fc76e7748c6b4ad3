import { describe, expect, test } from 'vitest'
import { defineExperiment } from './experiment.js'
import { cellKey, planOf } from './plan.js'

const experiment = defineExperiment({
  name: 'colours',
  question: 'Which colour is warm?',
  guest: 'micro',
  factors: { colour: ['red', 'green', 'blue'], size: [1, 2], loud: [true, false] },
  where: ({ colour, size }) => colour !== 'blue' || size === 1,
  compare: { factor: 'colour', baseline: { colour: 'red' } },
  rounds: 3,
  prepare: () => Promise.reject(new Error('never run')),
})

const keys = (round: number, of = experiment) => planOf(of).round(round).map(cellKey)

describe('a plan', () => {
  test('has every combination that makes sense, in the order of the factors', () => {
    const { cells } = planOf(experiment)
    expect(cells).toHaveLength(3 * 2 * 2 - 2)
    expect(cells[0]).toEqual({ colour: 'red', size: 1, loud: true })
    expect(cells.some(({ colour, size }) => colour === 'blue' && size === 2)).toBe(false)
  })

  test('measures every cell once a round, and is the same each time it is asked', () => {
    for (let round = 1; round <= 30; round++) {
      expect([...keys(round)].sort()).toEqual([...planOf(experiment).cells.map(cellKey)].sort())
      expect(keys(round)).toEqual(keys(round))
    }
  })

  test('begins each round with another cell until all have begun one', () => {
    const firsts = Array.from({ length: 10 }, (_, index) => keys(index + 1)[0])
    expect(new Set(firsts).size).toBe(10)
    expect(keys(11)[0]).toBe(firsts[0])
  })

  test('lets no cell always follow the same one', () => {
    const before = new Set<string>()
    for (let round = 1; round <= 40; round++) {
      const order = keys(round)
      before.add(order[order.indexOf(cellKey({ colour: 'green', size: 2, loud: true })) - 1] ?? 'first')
    }
    expect(before.size).toBeGreaterThan(6)
  })

  test('is another one for another seed, other values, or another choice of cells; not for more rounds', () => {
    const digest = planOf(experiment).digest
    expect(planOf({ ...experiment, rounds: 99 }).digest).toBe(digest)
    const others = [
      planOf({ ...experiment, seed: 2 }).digest,
      planOf({ ...experiment, name: 'colour' }).digest,
      planOf({ ...experiment, where: () => true }).digest,
      planOf(experiment, { size: ['2'] }).digest,
      digest,
    ]
    expect(new Set(others).size).toBe(5)
    expect(keys(1, { ...experiment, seed: 2 })).not.toEqual(keys(1))
  })

  test('of a selection keeps the baseline', () => {
    const { factors } = planOf(experiment, { colour: ['green'], size: ['1'] })
    expect(factors).toEqual({ colour: ['red', 'green'], size: [1], loud: [true, false] })
  })

  test.each([
    [{ size: ['3'] }, 'size 3 is none of 1, 2'],
    [{ shape: ['round'] }, 'it has no factor shape; it has colour, size, loud'],
    [{ constructor: ['x'] }, 'it has no factor constructor'],
  ])('of %j is refused', (only, message) => {
    expect(() => planOf(experiment, only as never)).toThrow(message)
  })

  test.each([
    [{ name: 'Colours!' }, 'its name is not'],
    [{ factors: {} }, 'it has 0 factors'],
    [{ factors: { colour: ['red', 'red'] } }, 'different values'],
    [{ factors: { '<b>': [1], colour: ['red'] } }, 'factor "<b>" is not'],
    [{ where: () => false }, 'no cell is left'],
    [{ compare: { factor: 'shape', baseline: {} } }, 'no factor shape to compare'],
    [{ compare: { factor: 'colour', baseline: { colour: 'pink' } } }, 'baseline names colour pink'],
  ])('of an experiment with %j is refused', (change, message) => {
    expect(() => planOf({ ...experiment, ...change } as never)).toThrow(message)
  })

  test('of too many cells is refused before they are made', () => {
    const values = Array.from({ length: 256 }, (_, index) => index)
    const factors = Object.fromEntries(Array.from({ length: 16 }, (_, index) => [`f${index}`, values]))
    const many = { ...experiment, factors, compare: { factor: 'f0', baseline: {} } }
    expect(() => planOf(many as never)).toThrow('more than 100000 cells')
  })
})
