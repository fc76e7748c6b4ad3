import { expect, test } from 'vitest'
import { VarveError } from '../errors.js'
import { failureOf } from './failed-restore.js'

const exited = new VarveError('MACHINE_EXITED', 'Firecracker of vm ended (SIGKILL)')
const dead = { exitedError: () => Promise.resolve(exited) }
const alive = { exitedError: () => new Promise<VarveError>(() => {}) }

const missing = Object.assign(new Error('ENOENT: no such file'), { code: 'ENOENT' })
const refused = new VarveError('PAGE_SERVER_PROTOCOL', 'serve: ENOENT: no such file')
const damaged = new VarveError('IMAGE_MISMATCH', 'layer ends early')

test.each([
  ['a missing file', missing],
  ['a page server that misses a file', refused],
])('%s is a consequence of the end of the VMM', async (_, error) => {
  expect(await failureOf(dead, error)).toMatchObject({ code: 'MACHINE_EXITED', cause: error })
  expect(await failureOf(alive, error)).toBe(error)
  expect(await failureOf(undefined, error)).toBe(error)
})

test('any other error of ours names the cause itself, also if the VMM was killed for it', async () => {
  expect(await failureOf(dead, damaged)).toBe(damaged)
})
