import { createHash } from 'node:crypto'
import { functionName, maxFunctionBytes } from '@varve/guest/testing'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { labFunction, labFunctions } from './all-functions.js'
import { type InputName, inputNames } from './function-types.js'
import { functionInput } from './invoke-function.js'
import { diskFor } from './prepare-guest.js'

/**
 * First bytes of the SHA-256 of inputs A, B and 4×A: they are the same in each run of an
 * experiment, also in next year's.
 */
const digests: Readonly<Record<string, readonly [string, string, string]>> = {
  hello: ['58d1dc5bb43a8ad8', '58e90031cac9700e', 'ca3626db2f425cc1'],
  json: ['e048e95340038e4a', '3b19ed086ec1745a', '75bad65c1adae249'],
  compression: ['5d42c54a739fa4e5', 'de90be7e1b0cf2a8', '061c25df9ccd2a77'],
  aes: ['965024ec402708e5', 'f6179ec77497a0a4', '92d1eb5b6161281d'],
  html: ['9b5f986377f9eedb', 'c9e0e7b918220ecb', 'a69b649e5a9d5bb9'],
  image: ['4b93ba576b24a38f', '6f717b8b4d4416a9', '15f33e79d38be9f8'],
  matmul: ['afefad676ee8f22d', '7133b26aa42ef610', '2e3d9de1e1c2dfb7'],
  'read-list': ['7dd397cc7525bad1', '5c7146b7ca8536a3', 'df4213a48e845f0e'],
  'mmap-touch': ['395642f566a685d8', '885521a667a74cfd', '3f06f73d08bddfd3'],
  'node-render': ['9b5f986377f9eedb', 'c9e0e7b918220ecb', 'a69b649e5a9d5bb9'],
}

const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex').slice(0, 16)

test('names are the agent’s, and nobody’s twice', () => {
  const names = labFunctions.map(({ name }) => name)
  expect(new Set(names).size).toBe(names.length)
  for (const name of names) expect(name).toMatch(functionName)
  expect(Object.keys(digests)).toEqual(names)
})

test('a function is found by its name; another name lists those that there are', () => {
  expect(labFunction('matmul').name).toBe('matmul')
  expect(() => labFunction('matmull')).toThrow('no lab function "matmull"')
})

test('functions that need no more than Python run on the smaller disk', () => {
  const guest = { kernel: 'k', initrd: 'i', bootArgs: '', rootDisk: 'small', functionsDisk: 'large' }
  const large = labFunctions.filter((fn) => diskFor(guest, [fn]) === 'large').map(({ name }) => name)
  expect(large).toEqual(['image', 'matmul', 'node-render'])
  expect(diskFor(guest, [labFunction('hello'), labFunction('json')])).toBe('small')
  expect(diskFor(guest, [labFunction('hello'), labFunction('image')])).toBe('large')
})

describe.each(labFunctions)('$name', (fn) => {
  const input = (name: InputName) => functionInput(fn, name)

  test('has always the same inputs', () => {
    expect(inputNames.map((name) => digest(input(name)))).toEqual(digests[fn.name])
    expect(fn.makeInput(fn.inputs.a).equals(input('a'))).toBe(true)
  })

  test('A and B are of one size with other content, and 4×A is four times as large', () => {
    const { a, b, a4 } = fn.inputs
    expect(b.size).toBe(a.size)
    expect(a4).toEqual({ size: 4 * a.size, seed: a.seed })
    expect(input('b').equals(input('a'))).toBe(false)
    for (const name of inputNames) expect(input(name).length).toBeLessThan(maxFunctionBytes)
  })

  test('whatever a guest answers is judged, and only the right answer passes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        expect(fn.fault(input('a'), Buffer.from(bytes))).toEqual(expect.any(String))
      }),
      { numRuns: 20 },
    )
  })
})
