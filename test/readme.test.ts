import { readFileSync, writeFileSync } from 'node:fs'
import { buildMicroGuest } from '@varve/lab'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { layeredRestore } from '../examples/layered-restore.js'
import { openWorld, type World } from './support/world.js'

let world: World
const before = { ...process.env }
beforeAll(async () => {
  world = await openWorld()
  process.env.VARVE_RUNTIME_DIR = world.runtimeDirectory
})
afterAll(async () => {
  process.env = before
  await world[Symbol.asyncDispose]()
})

test('the README shows the example as it is', () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8')
  const shown = /<!-- example: (\S+) -->\n```ts\n([\s\S]*?)```\n<!-- \/example -->/.exec(readme)
  expect(shown?.[2]).toBe(readFileSync(new URL(`../${shown?.[1]}`, import.meta.url), 'utf8'))
})

test('the example runs', async () => {
  writeFileSync(world.path('micro.elf'), buildMicroGuest())
  expect(await layeredRestore(world.path('micro.elf'))).toBe('Running')
})
