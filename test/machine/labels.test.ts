import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bootMachine, captureSnapshot, listMachines, restoreMachine } from 'varve'
import { afterAll, expect, test } from 'vitest'
import { commandsIn, varve } from '../support/cli.js'
import { microWorldOfFile } from '../support/micro-world.js'

const world = microWorldOfFile()
const { json, text, right, refused } = commandsIn(() => world)
const spec = () => ({ kernel: world.kernel, memoryMib: 16, vcpus: 1 })
const named = (labels: Record<string, string>) =>
  listMachines(world.runtimeDirectory, { labels }).map(({ record }) => record.id)

afterAll(async () => {
  await varve(world, 'stop', '--all')
})

test('machines and snapshots are found by their labels', async () => {
  const { store } = world
  const labels = { team: 'storage', stage: 'test' }
  await using one = await bootMachine(spec(), { ...world.launch, name: 'one', labels })
  await using two = await bootMachine(spec(), { ...world.launch, name: 'two' })
  expect(one.labels).toEqual(labels)
  expect(two.labels).toEqual({})
  expect(named({ team: 'storage' })).toEqual(['one'])
  expect(named({ team: 'storage', stage: 'prod' })).toEqual([])
  expect(named({})).toEqual(['one', 'two'])

  const paused = await one.pause()
  const base = await captureSnapshot(paused, { store, tags: ['base'], labels })
  const plain = await captureSnapshot(paused, { store, tags: ['plain'] })
  expect((await store.describe('base')).config.labels).toEqual(labels)
  expect((await store.list({ labels: { stage: 'test' } })).map(({ id }) => id)).toEqual([base.entry.id])
  expect((await store.list()).map(({ id }) => id)).toEqual([base.entry.id, plain.entry.id])
  await expect(captureSnapshot(paused, { store, labels: { Team: 'x' } })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  })
  // A restored machine has its own.
  const { machine } = await restoreMachine(store, 'base', { ...world.launch, labels: { team: 'other' } })
  await using _machine = machine
  expect(named({ team: 'other' })).toEqual([machine.id])
})

test('a record without labels, as older versions wrote it, is of a machine without labels', async () => {
  await using machine = await bootMachine(spec(), { ...world.launch, name: 'old', labels: { a: 'b' } })
  const path = join(machine.paths.directory, 'machine.json')
  const { labels, ...old } = JSON.parse(readFileSync(path, 'utf8')) as { labels: unknown }
  expect(labels).toEqual({ a: 'b' })
  writeFileSync(path, JSON.stringify(old))
  expect(listMachines(world.runtimeDirectory)[0]?.record).toMatchObject({ id: 'old', labels: {} })
  expect(named({ a: 'b' })).toEqual([])
})

test('the command sets them and filters by them', async () => {
  await right('boot', '--kernel', world.kernel, '--memory', '16', '--name', 'web', '--label', 'team=web')
  await right('snapshot', 'create', 'web', '--tag', 'labelled', '--label', 'team=web', '--label', 'n=1=2')
  expect((await json('ps', '--label', 'team=web')).machines).toMatchObject([
    { id: 'web', labels: { team: 'web' } },
  ])
  expect((await json('ps', '--label', 'team=none')).machines).toEqual([])
  expect((await json('snapshot', 'ls', '--label', 'n=1=2')).snapshots).toMatchObject([
    { tags: ['labelled'], labels: { team: 'web', n: '1=2' } },
  ])
  expect(await text('snapshot', 'show', 'labelled')).toMatch(/^labels +team=web, n=1=2$/m)
  await refused(2, 'USAGE', 'ps', '--label', 'team')
  await refused(2, 'INVALID_ARGUMENT', 'ps', '--label', 'Team=x')
})
