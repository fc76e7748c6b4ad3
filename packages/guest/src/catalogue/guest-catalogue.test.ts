import { createHash } from 'node:crypto'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Digest } from 'varve'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type BuildFolder, GuestCatalogue } from './guest-catalogue.js'
import type { GuestManifest } from './guest-manifest.js'

let directory: string
beforeEach(() => {
  directory = join(mkdtempSync(join(tmpdir(), 'varve-guests-')), 'guests')
})
afterEach(() => rmSync(join(directory, '..'), { recursive: true }))

const open = () => GuestCatalogue.open({ directory })
const digestOf = (text: string): Digest => `sha256:${createHash('sha256').update(text).digest('hex')}`

/** Files of a build, each with its own text. */
function parts(folder: BuildFolder, ...texts: string[]) {
  return texts.map((text) => {
    const path = join(folder.directory, text)
    writeFileSync(path, text)
    return { path, digest: digestOf(text) }
  })
}

function manifest(rootDisk: string, kernel = 'kernel', initrd = 'initrd'): GuestManifest {
  const part = (text: string) => ({ digest: digestOf(text), sizeBytes: text.length })
  return {
    createdAt: '2026-01-02T03:04:05.678Z',
    source: { reference: 'oci:somewhere', digest: digestOf('image') },
    rootDisk: { ...part(rootDisk), dataBytes: 1, inodes: 2 },
    kernel: { ...part(kernel), release: '6.1.0' },
    initrd: part(initrd),
    bootArgs: 'console=ttyS0',
    config: { env: ['A=b'], entrypoint: ['/x'], cmd: [], workingDir: '/', user: '' },
  }
}

const keyOf = (text: string) => digestOf(text).slice('sha256:'.length)

async function keep(catalogue: GuestCatalogue, name: string, rootDisk: string): Promise<void> {
  await using folder = await catalogue.startBuild(undefined)
  const made = parts(folder, rootDisk, 'kernel', 'initrd')
  const options = { parts: made, key: keyOf(rootDisk), signal: undefined }
  expect(await catalogue.publish(name, manifest(rootDisk), options)).toBe(true)
}

const kept = () => ({
  names: readdirSync(join(directory, 'names')).sort(),
  blobs: readdirSync(join(directory, 'blobs/sha256')).length,
  builds: readdirSync(join(directory, 'builds')).length,
  work: readdirSync(join(directory, 'work')).length,
})

describe('a guest', () => {
  test('is found by its name as it was kept, in directories of this user alone', async () => {
    const catalogue = await open()
    await keep(catalogue, 'py', 'disk')
    expect((await open()).get('py')).toEqual({ name: 'py', ...manifest('disk') })
    expect(kept()).toEqual({ names: ['py.json'], blobs: 3, builds: 1, work: 0 })
    for (const path of ['', 'names', 'blobs', 'blobs/sha256', 'builds', 'work', 'disks'])
      expect(statSync(join(directory, path)).mode & 0o777).toBe(0o700)
    expect(() => catalogue.get('js')).toThrow(
      expect.objectContaining({ code: 'NOT_FOUND', details: { kind: 'guest' } }),
    )
    expect(() => catalogue.get('../../x')).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })

  test('shares files with others; what no guest needs goes with the last one', async () => {
    const catalogue = await open()
    await keep(catalogue, 'one', 'disk')
    await keep(catalogue, 'two', 'disk')
    await keep(catalogue, 'three', 'other')
    expect(kept()).toMatchObject({ blobs: 4, builds: 2 })
    await expect(catalogue.remove(['one', 'none'])).rejects.toMatchObject({ code: 'NOT_FOUND' })
    expect((await catalogue.list()).map(({ name }) => name)).toEqual(['one', 'three', 'two'])
    await catalogue.remove(['one'])
    expect(kept()).toMatchObject({ blobs: 4, builds: 2 })
    await catalogue.remove(['two'])
    expect(kept()).toMatchObject({ names: ['three.json'], blobs: 3, builds: 1 })
    await catalogue.remove(['three'])
    expect(kept()).toEqual({ names: [], blobs: 0, builds: 0, work: 0 })
  })

  test('replaces one of the same name, whose files go', async () => {
    const catalogue = await open()
    await keep(catalogue, 'py', 'old')
    await keep(catalogue, 'py', 'new')
    expect(catalogue.get('py').rootDisk.digest).toBe(digestOf('new'))
    expect(existsSync(catalogue.paths.blob(digestOf('old')))).toBe(false)
    expect(catalogue.builtBefore(keyOf('old'))).toBeUndefined()
    expect(catalogue.builtBefore(keyOf('new'))).toEqual(manifest('new').rootDisk)
  })

  test('whose manifest was damaged is told, and can be removed', async () => {
    const catalogue = await open()
    await keep(catalogue, 'py', 'disk')
    writeFileSync(join(directory, 'names/py.json'), '{"format":"varve-guest","version":1,"createdAt":7}')
    expect(() => catalogue.get('py')).toThrow(expect.objectContaining({ code: 'FORMAT_INVALID' }))
    writeFileSync(join(directory, 'names/py.json'), '{"format":"varve-guest","version":2}')
    expect(() => catalogue.get('py')).toThrow(expect.objectContaining({ code: 'FORMAT_UNSUPPORTED' }))
    await catalogue.remove(['py'])
    expect(kept()).toEqual({ names: [], blobs: 0, builds: 0, work: 0 })
  })
})

describe('builds', () => {
  test('at the same time end with one whole guest, and the blobs of no other', async () => {
    const catalogues = await Promise.all(Array.from({ length: 8 }, open))
    await Promise.all(catalogues.map((it, index) => keep(it, 'py', `disk-${index % 3}`)))
    const { rootDisk, kernel, initrd } = (await open()).get('py')
    expect(readdirSync(join(directory, 'blobs/sha256')).sort()).toEqual(
      [rootDisk, kernel, initrd].map(({ digest }) => digest.slice('sha256:'.length)).sort(),
    )
    expect(kept()).toMatchObject({ names: ['py.json'], builds: 1, work: 0 })
  })

  test('that were given up leave nothing; what killed ones left goes with the next, what living ones have stays', async () => {
    const catalogue = await open()
    const living = await catalogue.startBuild(undefined)
    parts(living, 'half')
    const killed = join(directory, 'work', '0123456789abcdef')
    mkdirSync(killed)
    writeFileSync(join(killed, 'owner'), '')
    writeFileSync(join(killed, 'half'), 'half')
    await (await catalogue.startBuild(undefined))[Symbol.asyncDispose]()
    expect(existsSync(killed)).toBe(false)
    expect(readdirSync(living.directory).sort()).toEqual(['half', 'owner'])
    await living[Symbol.asyncDispose]()
    expect(kept().work).toBe(0)
  })

  test('whose disk another process removed meanwhile begin again', async () => {
    const catalogue = await open()
    await keep(catalogue, 'py', 'disk')
    await using folder = await catalogue.startBuild(undefined)
    expect(catalogue.builtBefore(keyOf('disk'))).toBeDefined()
    await (await open()).remove(['py'])
    const made = parts(folder, 'kernel', 'initrd')
    const options = { parts: made, key: keyOf('disk'), signal: undefined }
    expect(await catalogue.publish('again', manifest('disk'), options)).toBe(false)
    expect((await catalogue.list()).length).toBe(0)
  })
})

test('a directory of a later version, or that others may use, is refused', async () => {
  await open()
  writeFileSync(join(directory, 'varve-guests.json'), '{"format":"varve-guests","version":2}')
  await expect(open()).rejects.toMatchObject({ code: 'FORMAT_UNSUPPORTED' })
  rmSync(join(directory, 'varve-guests.json'))
  chmodSync(directory, 0o755)
  await expect(open()).rejects.toMatchObject({ code: 'PATH_INVALID' })
})
