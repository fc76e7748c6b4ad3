import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { VarveError } from '../errors.js'
import { findFirecracker, pinnedRelease } from './binary.js'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-binary-'))
})
afterEach(() => {
  rmSync(directory, { recursive: true })
})

/** An executable that says it is this version. */
function pretend(folder: string, version: string): string {
  mkdirSync(join(directory, folder), { recursive: true })
  const path = join(directory, folder, 'firecracker')
  writeFileSync(path, `#!/bin/sh\necho "Firecracker v${version}"\n`, { mode: 0o755 })
  return path
}

const find = (env: Record<string, string>) =>
  findFirecracker({ env: { VARVE_CACHE_DIR: join(directory, 'cache'), ...env }, download: false })

const failure = (promise: Promise<unknown>): Promise<VarveError> =>
  promise.then(
    () => {
      throw new Error('expected a rejection')
    },
    (error) => {
      expect(error).toBeInstanceOf(VarveError)
      return error as VarveError
    },
  )

test('$FIRECRACKER comes before PATH, and PATH in its order', async () => {
  const [named, first] = [pretend('named', '1.16.1'), pretend('first', '1.13.2')]
  pretend('second', '1.10.1')
  const PATH = `${join(directory, 'empty')}:${join(directory, 'first')}:${join(directory, 'second')}`
  expect(await find({ FIRECRACKER: named, PATH })).toMatchObject({
    path: named,
    origin: '$FIRECRACKER',
    version: { minor: 16 },
  })
  expect(await find({ PATH })).toMatchObject({
    path: first,
    origin: 'PATH',
    version: { minor: 13, patch: 2 },
  })
})

test('a wrong $FIRECRACKER is an error, not a reason to look elsewhere', async () => {
  pretend('first', '1.13.2')
  const error = await failure(
    find({ FIRECRACKER: join(directory, 'absent'), PATH: join(directory, 'first') }),
  )
  expect(error.code).toBe('BINARY_NOT_FOUND')
  expect(error.message).toContain('$FIRECRACKER')
})

test('a cached binary with another checksum is deleted and never run', async () => {
  const path = pretend(join('cache', 'firecracker', pinnedRelease.version), pinnedRelease.version)
  const error = await failure(find({ PATH: '' }))
  expect(error.code).toBe('BINARY_CHECKSUM')
  expect(error.message).toContain(pinnedRelease.sha256.firecracker)
  expect(existsSync(path)).toBe(false)
})

test('nothing anywhere, and no download allowed, says where it looked', async () => {
  const error = await failure(find({ PATH: directory }))
  expect(error.code).toBe('BINARY_NOT_FOUND')
  expect(error.remedy).toContain('$FIRECRACKER')
})

test('something that is not Firecracker is refused', async () => {
  const path = join(directory, 'firecracker')
  writeFileSync(path, '#!/bin/sh\necho hello\n', { mode: 0o755 })
  expect((await failure(find({ FIRECRACKER: path }))).code).toBe('FORMAT_INVALID')
})
