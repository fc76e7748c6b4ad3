import { afterAll, beforeAll, expect, test } from 'vitest'
import { commandsIn, varve } from '../support/cli.js'
import { microWorldOfFile } from '../support/micro-world.js'

const written = { start: 1024, count: 40 }

const world = microWorldOfFile()
beforeAll(async () => {
  await right('boot', '--kernel', 'micro.elf', '--memory', '32', '--name', 'web')
  await using guest = consoleOf('web')
  await guest.fill(written, 1)
})
afterAll(async () => {
  await varve(world, 'stop', '--all')
})

const { right, json, text, refused, consoleOf } = commandsIn(() => world)

async function isRight(name: string): Promise<void> {
  await using guest = consoleOf(name)
  await guest.verify(written, 1)
}

test('a running machine is cloned; its clones live on, and a snapshot of them is there', async () => {
  const cloned = await json('clone', 'web', '-n', '2', '--name', 'copy', '--tag', 'moment')
  expect(cloned.machines.map(({ id }: { id: string }) => id)).toEqual(['copy-1', 'copy-2'])
  expect([cloned.failed, cloned.standstillMs]).toEqual([[], expect.any(Number)])
  expect((await json('snapshot', 'show', 'moment')).id).toBe(cloned.snapshot)
  for (const name of ['web', 'copy-1', 'copy-2']) await isRight(name)
  const shown = await text('clone', 'web', '-n', '1', '--name', 'third')
  expect(shown).toMatch(/third-1 .*\n(.*\n)*the snapshot [0-9a-f]{12}; web stood still for [\d.]+ ms\n$/)
  await right('stop', 'copy-1', 'copy-2', 'third-1')
})

test('one that cannot be made does not end the others, and the command fails', async () => {
  await right('restore', 'moment', '--name', 'busy-2')
  await refused(2, 'ALREADY_EXISTS', 'clone', 'web', '-n', '3', '--name', 'busy')
  for (const name of ['busy-1', 'busy-3']) await isRight(name)
  await right('stop', 'busy-1', 'busy-2', 'busy-3')
})

test('a name of both a machine and a snapshot, and options that mean nothing, are refused', async () => {
  await right('snapshot', 'tag', 'moment', 'web')
  await refused(2, 'USAGE', 'clone', 'web')
  await refused(2, 'USAGE', 'clone', 'web', '--live', '--engine', 'file')
  await refused(2, 'USAGE', 'clone', 'moment', '--tag', 'x')
  await refused(6, 'NOT_FOUND', 'clone', 'nothing', '--live')
  await right('clone', 'web', '--live', '-n', '1', '--name', 'again')
  await isRight('again-1')
})
