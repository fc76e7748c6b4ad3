import { execFileSync } from 'node:child_process'
import { linkSync, truncateSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { commandsIn, varve } from '../support/cli.js'
import { microWorldOfFile } from '../support/micro-world.js'

const diskBytes = 64 * 2 ** 20

const world = microWorldOfFile()
const { right, json, text } = commandsIn(() => world)
beforeAll(async () => {
  writeFileSync(world.path('data.img'), '')
  truncateSync(world.path('data.img'), diskBytes)
  const machine = ['--kernel', 'micro.elf', '--memory', '16', '--disk', 'data=data.img']
  await right('boot', ...machine, '--name', 'src')
  await right('snapshot', 'create', 'src', '--tag', 'one')
  await right('snapshot', 'create', 'src', '--tag', 'two')
  await right('stop', 'src')
  await right('restore', 'two', '--engine', 'file', '--name', 'flat')
  await right('stop', 'flat')
})
afterAll(async () => {
  await varve(world, 'stop', '--all')
})

const sum = (rows: readonly { readonly diskBytes: number }[]) =>
  rows.reduce((all, it) => all + it.diskBytes, 0)
const systemSays = () => {
  const said = execFileSync('du', ['-s', '--block-size=1', world.path('store')], { encoding: 'utf8' })
  return Number(said.split('\t')[0])
}

test('du adds up to what du -s says of the directory, with garbage and files of two names', async () => {
  const said = async () => {
    const { layers, totals, copies, others, restBytes, totalBytes } = await json('du')
    expect(totals.diskBytes).toBe(sum(layers))
    expect(sum(layers) + sum(copies) + others.diskBytes + restBytes).toBe(totalBytes)
    return { copies, others, restBytes, totalBytes }
  }
  const before = await said()
  expect(before.copies).toHaveLength(1)
  expect(before.totalBytes).toBe(systemSays())
  writeFileSync(world.path('store/varve/staging/left-over'), Buffer.alloc(2 ** 20, 1))
  linkSync(world.path('store/varve/staging/left-over'), world.path('store/varve/staging/again'))
  const after = await said()
  expect(after.totalBytes).toBe(systemSays())
  expect(after.restBytes - before.restBytes).toBeGreaterThanOrEqual(2 ** 20)
  expect(after.restBytes - before.restBytes).toBeLessThan(2 ** 20 + 65_536)
  expect(await text('du')).toMatch(/^the whole store: .* on disk$/m)
})

test('a sparse disk counts with the blocks that it takes', async () => {
  for (const ref of [[], ['one']]) {
    const { others } = await json('du', ...ref)
    expect(others.sizeBytes).toBeGreaterThanOrEqual(diskBytes)
    expect(others.diskBytes).toBeLessThan(diskBytes / 16)
  }
  const one = await json('du', 'one')
  expect([one.restBytes, one.totalBytes]).toEqual([null, null])
  expect(await text('du', 'one')).not.toContain('the whole store')
})
