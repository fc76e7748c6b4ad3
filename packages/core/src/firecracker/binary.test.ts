import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { VarveError } from '../errors.js'
import { findFirecracker, findFirecrackerFor } from './binary.js'
import { pinnedRelease } from './pinned-releases.js'
import { parseFirecrackerVersion } from './version.js'

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

describe('what the caller names', () => {
  const asked = (options: Parameters<typeof findFirecracker>[0], env: Record<string, string>) => ({
    ...options,
    download: false,
    env: { VARVE_CACHE_DIR: join(directory, 'cache'), ...env },
  })

  test('comes before the variables: a binary, and a folder even before $FIRECRACKER', async () => {
    const [named, other] = [pretend('named', '1.16.1'), pretend('other', '1.13.2')]
    const env = { FIRECRACKER: other, VARVE_FIRECRACKER_DIR: join(directory, 'other'), PATH: '' }
    const firecrackerDirectory = join(directory, 'named')
    expect(await findFirecracker(asked({ firecracker: named }, env))).toMatchObject({
      path: named,
      origin: 'option firecracker',
    })
    const ofFolder = { path: named, origin: 'option firecrackerDirectory' }
    expect(await findFirecracker(asked({ firecrackerDirectory }, env))).toMatchObject(ofFolder)
    const maker = parseFirecrackerVersion('1.16.1')
    expect(await findFirecrackerFor(maker, asked({ firecrackerDirectory }, env))).toMatchObject({
      binary: ofFolder,
      reason: 'it took the snapshot',
    })
    expect(await findFirecrackerFor(maker, asked({ firecracker: named }, env))).toMatchObject({
      reason: 'the option firecracker names it',
    })
    const refused = await failure(findFirecrackerFor(maker, asked({ firecracker: other }, env)))
    expect(refused).toMatchObject({ code: 'VERSION_UNSUPPORTED' })
    expect(refused.message).toContain(`${other} (option firecracker) is 1.13.2`)
  })

  test('is not made up for by PATH where it is wrong', async () => {
    pretend('path', '1.12.1')
    mkdirSync(join(directory, 'empty'))
    mkdirSync(join(directory, 'dangling'))
    symlinkSync('nowhere', join(directory, 'dangling', 'firecracker'))
    execFileSync('mkfifo', [join(directory, 'pipe')])
    const env = { PATH: join(directory, 'path') }
    for (const firecrackerDirectory of ['empty', 'dangling', 'absent', 'pipe', 'x'.repeat(5000)]) {
      const path = join(directory, firecrackerDirectory)
      const error = await failure(findFirecracker(asked({ firecrackerDirectory: path }, env)))
      expect(error.code).toBe('BINARY_NOT_FOUND')
    }
    for (const firecracker of ['empty', 'dangling/firecracker', 'absent', 'pipe', 'x'.repeat(5000)]) {
      const path = join(directory, firecracker)
      const error = await failure(findFirecracker(asked({ firecracker: path }, env)))
      expect(error.code).toBe('BINARY_NOT_FOUND')
      expect(error.message).toMatch(/^the option firecracker names .*, which is not an executable file$/)
    }
  })

  test('a folder in it that has thousands of other files is named, and the others count', async () => {
    const path = pretend('many/a', '1.16.1')
    mkdirSync(join(directory, 'many', 'other'))
    for (let i = 0; i < 1001; i++) writeFileSync(join(directory, 'many', 'other', `${i}`), '')
    const of = (name: string) =>
      findFirecracker(asked({ firecrackerDirectory: join(directory, name) }, { PATH: '' }))
    expect(await of('many')).toMatchObject({ path })
    rmSync(path)
    expect((await failure(of('many'))).message).toContain('other has 1001 entries, more than 1000')
  })

  test('a folder with more binaries than a person keeps is refused before any is run', async () => {
    mkdirSync(join(directory, 'many'))
    const mark = join(directory, 'ran')
    for (let i = 0; i < 65; i++) {
      const path = join(directory, 'many', `firecracker-v1.${i}.0-x86_64`)
      writeFileSync(path, `#!/bin/sh\ntouch ${mark}\n`, { mode: 0o755 })
    }
    const many = asked({ firecrackerDirectory: join(directory, 'many') }, { PATH: '' })
    expect(await failure(findFirecracker(many))).toMatchObject({
      code: 'BINARY_NOT_FOUND',
      message: expect.stringContaining('more than 64'),
    })
    expect(existsSync(mark)).toBe(false)
  })
})

/** An executable in $VARVE_FIRECRACKER_DIR that counts how often it is asked. */
function inFolder(name: string, version: string): string {
  const path = join(directory, 'many', name)
  mkdirSync(join(path, '..'), { recursive: true, mode: 0o755 })
  writeFileSync(path, `#!/bin/sh\necho x >>"$0.asked"\necho "Firecracker v${version}"\n`, { mode: 0o755 })
  return path
}
const timesAsked = (path: string): number =>
  existsSync(`${path}.asked`) ? readFileSync(`${path}.asked`, 'utf8').length / 2 : 0

const findFor = (maker: string, env: Record<string, string> = {}) =>
  findFirecrackerFor(parseFirecrackerVersion(maker), {
    env: {
      VARVE_CACHE_DIR: join(directory, 'cache'),
      VARVE_FIRECRACKER_DIR: join(directory, 'many'),
      PATH: '',
      ...env,
    },
    download: false,
  })

describe('several side by side', () => {
  test('a snapshot gets the release that took it, however binaries are named', async () => {
    const v1_14_2 = inFolder('firecracker-v1.14.2-x86_64', '1.14.2')
    const v1_14_4 = inFolder('release-v1.14.4-x86_64/firecracker-v1.14.4-x86_64', '1.14.4')
    const v1_16_1 = inFolder('1.16.1/firecracker', '1.16.1')
    inFolder('firecracker-v1.15.1-x86_64.debug', '1.15.1')
    for (const [maker, path] of [
      ['1.14.2', v1_14_2],
      ['1.14.4', v1_14_4],
      ['1.16.1', v1_16_1],
    ] as const)
      expect(await findFor(maker)).toMatchObject({
        binary: { path, origin: '$VARVE_FIRECRACKER_DIR' },
        reason: 'it took the snapshot',
      })
  })

  test('else the newest that loads it: of the same layout, not only of the same snapshot version', async () => {
    inFolder('a/firecracker', '1.14.2')
    const newest = inFolder('b/firecracker', '1.14.4')
    inFolder('c/firecracker', '1.13.2')
    inFolder('d/firecracker', '1.16.1')
    expect(await findFor('1.14.0')).toMatchObject({
      binary: { path: newest },
      reason: 'the newest here that loads snapshots of Firecracker 1.14.0',
    })
    expect((await findFor('1.13.0')).binary.version).toMatchObject({ minor: 13, patch: 2 })
  })

  test('none that loads it: says what is needed and what there is', async () => {
    const have = inFolder('firecracker', '1.14.4')
    const error = await failure(findFor('1.13.1'))
    expect(error).toMatchObject({
      code: 'VERSION_UNSUPPORTED',
      remedy: expect.stringContaining('put Firecracker 1.13.0 to 1.13.2 into'),
      details: { maker: '1.13.1', needs: '1.13.0 to 1.13.2', snapshotVersion: '8.0.0' },
    })
    expect(error.message).toContain(have)
    const none = await failure(findFor('1.16.1', { VARVE_FIRECRACKER_DIR: '' }))
    expect(none.code).toBe('BINARY_NOT_FOUND')
    expect(none.message).toContain('Firecracker 1.16.0 or 1.16.1 only')
  })

  test('$FIRECRACKER wins, and is refused where it does not load the snapshot', async () => {
    inFolder('firecracker', '1.16.1')
    const FIRECRACKER = pretend('named', '1.16.0')
    expect(await findFor('1.16.1', { FIRECRACKER })).toMatchObject({ binary: { path: FIRECRACKER } })
    const error = await failure(findFor('1.12.1', { FIRECRACKER }))
    expect(error).toMatchObject({
      code: 'VERSION_UNSUPPORTED',
      message: `a snapshot of Firecracker 1.12.1 (snapshot version 6.0.0) is loaded by Firecracker 1.12.0 or 1.12.1 only; ${FIRECRACKER} ($FIRECRACKER) is 1.16.0 (10.0.0)`,
    })
  })

  test('each is asked for its version once, by this process and the next, until it is another file', async () => {
    const path = inFolder('firecracker', '1.14.2')
    await findFor('1.14.2')
    await findFor('1.14.4')
    expect(timesAsked(path)).toBe(1)
    const script = `import { findFirecracker } from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)}
      console.log((await findFirecracker()).version.patch)`
    const env = { VARVE_CACHE_DIR: join(directory, 'cache'), VARVE_FIRECRACKER_DIR: join(directory, 'many') }
    expect(execFileSync(process.execPath, ['--input-type=module', '-e', script], { env }).toString()).toBe(
      '2\n',
    )
    expect(timesAsked(path)).toBe(1)
    inFolder('firecracker', '1.14.4')
    expect((await findFor('1.14.4')).reason).toBe('it took the snapshot')
    expect(timesAsked(path)).toBe(2)
  })

  test('a note of a version that others could have written is not believed', async () => {
    const path = inFolder('firecracker', '1.14.2')
    await findFor('1.14.2')
    const notes = join(directory, 'cache', 'versions')
    for (const name of readdirSync(notes)) chmodSync(join(notes, name), 0o666)
    const script = `import { findFirecracker } from ${JSON.stringify(new URL('../../dist/index.js', import.meta.url).href)}
      await findFirecracker()`
    const env = { VARVE_CACHE_DIR: join(directory, 'cache'), VARVE_FIRECRACKER_DIR: join(directory, 'many') }
    execFileSync(process.execPath, ['--input-type=module', '-e', script], { env })
    expect(timesAsked(path)).toBe(2)
  })

  test('what others could have put there or changed is never run', async () => {
    const [writable, theirs, link, inOpenFolder] = ['writable', 'theirs', 'link', 'open/firecracker'].map(
      (it) => inFolder(`${it.replace('/firecracker', '')}/firecracker`, '1.16.1'),
    ) as [string, string, string, string]
    chmodSync(writable, 0o777)
    const asRoot = process.getuid?.() === 0
    if (asRoot) chownSync(theirs, 12345, 12345)
    else chmodSync(theirs, 0o775)
    rmSync(link)
    symlinkSync(writable, link)
    chmodSync(join(inOpenFolder, '..'), 0o777)
    mkdirSync(join(directory, 'many', 'folder', 'firecracker'), { recursive: true })
    writeFileSync(join(directory, 'many', 'firecracker'), 'no program', { mode: 0o644 })
    const error = await failure(findFor('1.16.1'))
    expect(error.code).toBe('BINARY_NOT_FOUND')
    for (const problem of [
      'other users may write to it',
      'other users may write to its folder',
      'is not executable',
    ])
      expect(error.message).toContain(problem)
    if (asRoot) expect(error.message).toContain('belongs to uid 12345')
    for (const path of [writable, theirs, inOpenFolder]) expect(timesAsked(path)).toBe(0)
    const well = inFolder('well/firecracker', '1.16.1')
    expect((await findFor('1.16.1')).binary.path).toBe(well)
  })

  test('one that does not answer, or answers something else, does not keep the others from being used', async () => {
    writeFileSync(join(directory, 'firecracker'), '#!/bin/sh\nexit 1\n', { mode: 0o755 })
    const well = inFolder('b/firecracker', '1.16.1')
    writeFileSync(inFolder('a/firecracker', 'x'), '#!/bin/sh\nexit 1\n', { mode: 0o755 })
    writeFileSync(inFolder('c/firecracker', 'x'), '#!/bin/sh\necho hello\n', { mode: 0o755 })
    expect((await findFor('1.16.1')).binary.path).toBe(well)
  })

  test('without a snapshot it is the newest of the folder; a folder without one is an error', async () => {
    inFolder('a/firecracker', '1.14.4')
    const newest = inFolder('b/firecracker', '1.16.1')
    const VARVE_FIRECRACKER_DIR = join(directory, 'many')
    pretend('first', '1.13.2')
    const PATH = join(directory, 'first')
    expect(await find({ VARVE_FIRECRACKER_DIR, PATH })).toMatchObject({ path: newest })
    mkdirSync(join(directory, 'none'))
    for (const empty of ['none', 'absent']) {
      const error = await failure(find({ VARVE_FIRECRACKER_DIR: join(directory, empty), PATH }))
      expect([error.code, error.message]).toEqual(['BINARY_NOT_FOUND', expect.stringContaining(empty)])
    }
  })
})
