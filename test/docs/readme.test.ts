import { readFileSync } from 'node:fs'
import { MicroConsole } from '@varve/lab'
import { captureSnapshot } from 'varve'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { layeredRestore } from '../../examples/layered-restore.js'
import { recordWork } from '../../examples/record-working-set.js'
import { microWorldOfFile } from '../support/micro-world.js'

const world = microWorldOfFile()
const before = { ...process.env }
beforeAll(async () => {
  process.env.VARVE_RUNTIME_DIR = world.runtimeDirectory
})
afterAll(async () => {
  process.env = before
})

test.each(['README.md', 'docs/guides/working-sets.md', 'docs/guides/guests.md'])(
  '%s shows its example as it is',
  (document) => {
    const text = readFileSync(new URL(`../../${document}`, import.meta.url), 'utf8')
    const shown = /<!-- example: (\S+) -->\n```ts\n([\s\S]*?)```\n<!-- \/example -->/.exec(text)
    expect(shown?.[2]).toBe(readFileSync(new URL(`../../${shown?.[1]}`, import.meta.url), 'utf8'))
  },
)

test('the example of the README runs', async () => {
  expect(await layeredRestore(world.kernel)).toBe('Running')
})

test('the example of the guide to working sets runs', async () => {
  const directory = world.path('store')
  await using booted = await world.boot({ memoryMib: 32 })
  const { machine, console } = booted
  await console.write({ start: 1000, count: 3000 }, 1)
  await captureSnapshot(await machine.pause(), { store: world.store, tags: ['one'] })
  const said = await recordWork(directory, 'one', 'hello', async (restored) => {
    await using guest = MicroConsole.attach(restored.paths)
    await guest.write({ start: 1000, count: 500 }, 2)
  })
  // The pages written, and some of the guest's and Firecracker's own.
  expect(said).toMatch(/^[56]\d\d pages, 5[0-2]\d of them written$/)
  expect((await world.store.describe('one')).workingSets.map(({ name }) => name)).toEqual(['hello'])
})
