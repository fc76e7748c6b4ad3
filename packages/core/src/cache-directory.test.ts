import { homedir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { cacheDirectory } from './cache-directory.js'

test.each([
  [{ VARVE_CACHE_DIR: '/v', XDG_CACHE_HOME: '/x' }, '/v'],
  [{ XDG_CACHE_HOME: '/x' }, '/x/varve'],
  [{ VARVE_CACHE_DIR: '', XDG_CACHE_HOME: '' }, join(homedir(), '.cache', 'varve')],
  [{}, join(homedir(), '.cache', 'varve')],
])('%j: %s', (env, directory) => {
  expect(cacheDirectory(env)).toBe(directory)
})
