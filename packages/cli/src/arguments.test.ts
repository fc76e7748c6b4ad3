import { describe, expect, test } from 'vitest'
import { integerOption, layoutOption, listOption, positionals, someNames, stringOption } from './arguments.js'
import type { CommandContext } from './command.js'

const given = (...words: string[]) => ({ positionals: words }) as unknown as CommandContext

describe('options', () => {
  test('are there or undefined', () => {
    expect(stringOption({ name: 'web' }, 'name')).toBe('web')
    expect(stringOption({ name: true }, 'name')).toBeUndefined()
    expect(stringOption({}, 'name')).toBeUndefined()
    expect(listOption({ tag: ['a', 'b'] }, 'tag')).toEqual(['a', 'b'])
    expect(listOption({}, 'tag')).toEqual([])
  })

  test('numbers are whole and decimal', () => {
    expect(integerOption({ memory: '128' }, 'memory')).toBe(128)
    expect(integerOption({}, 'memory')).toBeUndefined()
    for (const memory of ['', '-1', '1.5', '1e3', '0x10', ' 1', '128MiB', '9'.repeat(16)])
      expect(() => integerOption({ memory }, 'memory')).toThrow(
        expect.objectContaining({ code: 'USAGE', message: `--memory ${memory} is not a whole number` }),
      )
  })

  test('a layout is flat or packed', () => {
    expect(layoutOption({ layout: 'flat' })).toBe('flat')
    expect(layoutOption({ layout: 'packed' })).toBe('packed')
    expect(layoutOption({})).toBeUndefined()
    expect(() => layoutOption({ layout: 'Flat' })).toThrow('--layout Flat is neither flat nor packed')
  })
})

describe('arguments without a name', () => {
  test('exactly those that are expected', () => {
    expect(positionals(given('a', 'b'), ['REF', 'FILE'])).toEqual(['a', 'b'])
    expect(positionals(given(), [])).toEqual([])
    for (const words of [[], ['a'], ['a', 'b', 'c']])
      expect(() => positionals(given(...words), ['REF', 'FILE'])).toThrow(
        expect.objectContaining({
          code: 'USAGE',
          message: `expected REF FILE, got ${words.length === 1 ? '1 argument' : `${words.length} arguments`}`,
        }),
      )
    expect(() => positionals(given('a'), [])).toThrow('expected no arguments, got 1 argument')
  })

  test('at least one name', () => {
    expect(someNames(given('a', 'b'))).toEqual(['a', 'b'])
    expect(() => someNames(given())).toThrow(
      expect.objectContaining({ code: 'USAGE', remedy: expect.any(String) }),
    )
  })
})
