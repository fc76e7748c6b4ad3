import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { publishFile } from '../layer/publish-file.js'
import { createLockedTemporary, removeLeftTemporaries } from './temporaries.js'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-temporaries-'))
})
afterEach(() => rmSync(directory, { recursive: true }))
const at = (name: string) => join(directory, name)
const left = '.varve-tmp-0123456789abcdef'

test('what a process that ended left is removed by the next one that makes a file there', async () => {
  writeFileSync(at(left), 'half')
  await publishFile(at('made'), async () => {})
  expect(readdirSync(directory)).toEqual(['made'])
})

test('what a process is making stays, however old it is; other names stay', async () => {
  // util-linux flock; without a fork, the lock ends with the process that is killed.
  writeFileSync(at(left), 'half')
  const maker = spawn('flock', ['--no-fork', at(left), 'sh', '-c', 'echo locked; exec sleep 60'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  try {
    await once(maker.stdout, 'data')
    utimesSync(at(left), 1, 1)
    for (const name of ['.varve-tmp-', '.varve-tmp-0123', 'varve-tmp-0123456789abcdef'])
      writeFileSync(at(name), '')
    symlinkSync(at('elsewhere'), at('.varve-tmp-fedcba9876543210'))
    const before = readdirSync(directory)
    await removeLeftTemporaries(directory)
    expect(readdirSync(directory)).toEqual(before)
  } finally {
    maker.kill('SIGKILL')
    await once(maker, 'exit')
  }
  await removeLeftTemporaries(directory)
  expect(readdirSync(directory)).not.toContain(left)
})

test.each([1, 2])(
  'a probe for shared blocks that is killed at its file %i leaves nothing for long',
  async (nth) => {
    const probe = `import fs from 'node:fs'
    import { syncBuiltinESMExports } from 'node:module'
    const { openSync } = fs
    let opened = 0
    fs.openSync = (path, ...rest) => {
      const fd = openSync(path, ...rest)
      if (String(path).includes('/.varve-') && ++opened === ${nth}) process.kill(process.pid, 'SIGKILL')
      return fd
    }
    syncBuiltinESMExports()
    const { probeReflink } = await import(process.argv[1])
    probeReflink(process.argv[2])`
    const module = join(import.meta.dirname, '../../dist/testing.js')
    const run = spawn(process.execPath, ['--input-type=module', '-e', probe, module, directory])
    expect(await once(run, 'exit')).toEqual([null, 'SIGKILL'])
    await publishFile(at('made'), async () => {})
    expect(readdirSync(directory)).toEqual(['made'])
  },
)

test('makers and those that look for what is left do not get in each other’s way', async () => {
  let ended = false
  const looking = (async () => {
    while (!ended) await removeLeftTemporaries(directory)
  })()
  for (let round = 0; round < 200; round++) await publishFile(at(`file-${round}`), async () => {})
  ended = true
  await looking
  expect(readdirSync(directory).length).toBe(200)
})

test('a temporary is locked while it is open', async () => {
  {
    await using file = await createLockedTemporary(directory)
    expect(() => execFileSync('flock', ['-n', file.path, 'true'])).toThrow()
  }
  const [name] = readdirSync(directory)
  execFileSync('flock', ['-n', at(name as string), 'true'])
})
