import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { verbs } from '../verbs.js'
import { candidates } from './candidates.js'

const names = async (...words: string[]) => (await candidates(words)).map((line) => line.split('\t')[0])

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-completion-'))
  vi.stubEnv('VARVE_RUNTIME_DIR', directory)
  vi.stubEnv('VARVE_STORE', join(directory, 'store'))
})
afterEach(() => {
  rmSync(directory, { recursive: true })
  vi.unstubAllEnvs()
})

test('verbs, with what they do', async () => {
  expect(await names('')).toEqual([...Object.keys(verbs), 'help', '--version', '--help'])
  expect(await candidates(['re'])).toEqual([
    'resume\tstart the vCPUs of paused machines',
    'restore\tstart a machine from a snapshot',
  ])
  expect(await names('snapshot', 's')).toEqual(['show'])
  expect(await names('help', 'ws')).toEqual(['ws'])
  expect(await names('help', 'ws', 'c')).toEqual(['common', 'compare'])
})

test('options, and words that they may have', async () => {
  expect(await names('restore', '--pre')).toEqual(['--prefetch', '--prefetch-budget'])
  expect(await names('restore', 'x', '--engine', '')).toEqual([
    'auto',
    'file',
    'paged',
    'mapped',
    'patched',
    'layered',
  ])
  expect(await names('clone', 'x', '--prefetch', 'b')).toEqual(['before'])
  expect(await names('squash', 'x', '--layout', '')).toEqual(['flat', 'packed'])
  expect(await names('ws', 'record', 'x', '--engine', 'm')).toEqual(['mapped'])
  expect(await names('boot', '--name', '')).toEqual([])
  expect(await names('completion', '')).toEqual(['bash', 'zsh', 'fish'])
})

test('files and directories are for the shell to find', async () => {
  expect(await names('boot', '--kernel', 'vm')).toEqual([':file'])
  expect(await names('boot', '--root-disk', '')).toEqual([':file'])
  expect(await names('gc', '--store', '')).toEqual([':directory'])
  expect(await names('inspect', '')).toEqual([':file', ':directory'])
  expect(await names('flatten', 'x', '')).toEqual([':file'])
  expect(await names('ws', 'record', 'x', '--', '')).toEqual([':file'])
})

test('machines', async () => {
  expect(await names('stop', '')).toEqual([])
  for (const name of ['web', 'web2', 'db', '.new-1'])
    mkdirSync(join(directory, 'machines', name), { recursive: true })
  expect((await names('stop', '')).sort()).toEqual(['db', 'web', 'web2'])
  expect((await names('stop', 'web', 'w')).sort()).toEqual(['web', 'web2'])
  expect(await names('ws', 'record', '--machine', 'd')).toEqual(['db'])
  expect((await names('snapshot', 'create', '')).sort()).toEqual(['db', 'web', 'web2'])
})

test('guests', async () => {
  vi.stubEnv('VARVE_GUESTS', join(directory, 'guests'))
  expect(await names('guest', 'show', '')).toEqual([])
  const part = { digest: `sha256:${'1'.repeat(64)}`, sizeBytes: 1 }
  const manifest = {
    ...{ format: 'varve-guest', version: 1, createdAt: '2026-01-01T00:00:00.000Z', bootArgs: 'quiet' },
    source: { reference: 'x', digest: part.digest },
    rootDisk: { ...part, dataBytes: 0, inodes: 1 },
    kernel: { ...part, release: null },
    initrd: part,
    config: { env: [], entrypoint: [], cmd: [], workingDir: '/', user: '' },
  }
  writeFileSync(join(directory, 'guests/names/py.json'), JSON.stringify(manifest))
  expect(await names('guest', 'show', '')).toEqual(['py'])
  expect(await names('guest', 'rm', 'py', 'p')).toEqual(['py'])
  expect(await names('guest', 'build', '--kernel', '')).toEqual([':file'])
  expect(await names('boot', '--guest', '')).toEqual(['py'])
})

test('a store that is not there, and words that mean nothing, have no candidates', async () => {
  expect(await names('restore', '')).toEqual([])
  expect(await names('ws', 'show', '')).toEqual([':file'])
  expect(await names('frobnicate', '')).toEqual([])
  expect(await names('toString', '')).toEqual([])
  expect(await names('snapshot', 'frobnicate', '')).toEqual([])
  expect(await candidates([])).toContain('help\texplain a verb')
})
