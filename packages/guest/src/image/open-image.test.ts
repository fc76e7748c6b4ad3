import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { defaultImageLimits, type ImageLimits } from './image-limits.js'
import { parseImageSource } from './image-source.js'
import { type MadeImage, writeMadeLayout } from './made-images/made-layout.js'
import { madeTar } from './made-images/made-tar.js'
import { openImage } from './open-image.js'
import { unpackImage } from './unpack-image.js'

let folder: string
let works = 0
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'varve-images-'))
})
afterEach(() => rmSync(folder, { recursive: true }))

const layer = (name: string, content = name) => ({ tar: madeTar([{ name, content }]) })

function layout(...images: MadeImage[]): string {
  const directory = join(folder, `layout-${++works}`)
  writeMadeLayout(directory, images)
  return directory
}

async function open(source: string, limits: ImageLimits = defaultImageLimits) {
  const work = join(folder, `work-${++works}`)
  mkdirSync(work)
  const image = await openImage(parseImageSource(source), { work, limits })
  const { tree, spool } = await unpackImage(image, { work, limits })
  const read = (path: string) => {
    const node = tree.find(path)
    return node?.kind === 'file' ? readFileSync(spool.pathOf(node.content), 'utf8') : node?.kind
  }
  return { image, read }
}

const zstd = (tar: Buffer) => spawnSync('zstd', ['-c'], { input: tar }).stdout

/** A tar archive of a folder, as `skopeo copy` and `docker save` make them. */
function archived(directory: string): string {
  const path = `${directory}.tar`
  expect(spawnSync('tar', ['-cf', path, '-C', directory, '.']).status).toBe(0)
  return path
}

describe('OCI layouts', () => {
  test('layers of every compression are put over each other, and the configuration is read', async () => {
    const config = { Env: ['A=b'], Entrypoint: ['/bin/app'], Cmd: null, User: '7:8' }
    const directory = layout({
      layers: [
        { ...layer('a', 'plain'), pack: (tar) => tar },
        { ...layer('b', 'zstd'), pack: zstd },
        layer('a', 'gzip'),
        // Two members, as pigz and stargz write them.
        {
          ...layer('c'),
          pack: (tar) => Buffer.concat([gzipSync(tar.subarray(0, 700)), gzipSync(tar.subarray(700))]),
        },
      ],
      config,
    })
    for (const source of [`oci:${directory}`, `oci-archive:${archived(directory)}`]) {
      const { image, read } = await open(source)
      expect([read('a'), read('b'), read('c'), read('proc')]).toEqual(['gzip', 'zstd', 'c', 'directory'])
      expect(image.config).toEqual({
        env: ['A=b'],
        entrypoint: ['/bin/app'],
        cmd: [],
        workingDir: '/',
        user: '7:8',
      })
    }
  })

  test('a tag, and the platform of this host, choose the image', async () => {
    const directory = layout(
      { layers: [layer('one')], tag: 'one' },
      { layers: [layer('two')], tag: 'two', nested: true },
    )
    expect((await open(`oci:${directory}:one`)).read('one')).toBe('one')
    expect((await open(`oci:${directory}:two`)).read('two')).toBe('two')
    await expect(open(`oci:${directory}`)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      remedy: 'add one of its tags: one, two',
    })
    await expect(open(`oci:${directory}:three`)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    await expect(
      open(`oci:${layout({ layers: [layer('a')], architecture: 's390x' })}`),
    ).rejects.toMatchObject({
      code: 'HOST_UNSUPPORTED',
    })
  })

  test('bytes that are not what a digest says are refused', async () => {
    const wrong = `sha256:${'0'.repeat(64)}`
    const unlike = layout({ layers: [{ ...layer('a'), diffId: wrong }] })
    await expect(open(`oci:${unlike}`)).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH' })
    for (const kind of ['config', 'layer'] as const) {
      const directory = layout({ layers: [layer('a')] })
      const read = (path: string) => JSON.parse(readFileSync(join(directory, path), 'utf8'))
      const blob = (digest: string) => `blobs/sha256/${digest.slice(7)}`
      const manifest = read(blob(read('index.json').manifests[0].digest))
      const path = blob(kind === 'config' ? manifest.config.digest : manifest.layers[0].digest)
      const bytes = readFileSync(join(directory, path))
      // In a gzip header the time: the layer unpacks to the same.
      bytes.writeUInt8((bytes[5] as number) ^ 1, 5)
      writeFileSync(join(directory, path), bytes)
      await expect(open(`oci:${directory}`)).rejects.toMatchObject({ code: 'CHECKSUM_MISMATCH' })
    }
  })

  test('what is no layout, no image or no layer is refused with the reason', async () => {
    await expect(open(`oci:${join(folder, 'none')}`)).rejects.toMatchObject({ code: 'NOT_FOUND' })
    const empty = layout({ layers: [] })
    await expect(open(`oci:${empty}`)).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
    const brotli = layout({ layers: [{ ...layer('a'), pack: (tar) => brotliCompressSync(tar) }] })
    await expect(open(`oci:${brotli}`)).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
    const cut = (pack: (tar: Buffer) => Buffer) => (tar: Buffer) => {
      const packed = pack(tar)
      return packed.subarray(0, packed.length - 20)
    }
    for (const pack of [gzipSync, zstd]) {
      const directory = layout({ layers: [{ ...layer('a', 'x'.repeat(5000)), pack: cut(pack) }] })
      await expect(open(`oci:${directory}`)).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
    }
    writeFileSync(
      join(empty, 'index.json'),
      `{"manifests":[{"mediaType":"a/b","digest":"sha256:../../x","size":1}]}`,
    )
    await expect(open(`oci:${empty}`)).rejects.toMatchObject({ code: 'FORMAT_INVALID' })
  })

  test('a bomb is given up once its bytes are more than the bound', async () => {
    const tar = madeTar([{ name: 'zeros', content: Buffer.alloc(50_000_000) }])
    const limits = { ...defaultImageLimits, maxBytes: 10_000_000 }
    for (const pack of [gzipSync, zstd]) {
      const directory = layout({ layers: [{ tar, pack }] })
      await expect(open(`oci:${directory}`, limits)).rejects.toThrow('unpacks to more than 10000000 bytes')
    }
  })

  test('what was given up keeps no descriptor open', async () => {
    const tar = madeTar([{ name: 'zeros', content: Buffer.alloc(50_000_000) }])
    const directory = layout({ layers: [{ tar, pack: zstd }] })
    const limits = { ...defaultImageLimits, maxBytes: 10_000_000 }
    const descriptors = () => readdirSync('/proc/self/fd').length
    const before = descriptors()
    for (let n = 0; n < 5; n++) await expect(open(`oci:${directory}`, limits)).rejects.toThrow()
    for (let tries = 0; descriptors() > before + 2 && tries < 100; tries++) await sleep(10)
    expect(descriptors()).toBeLessThan(before + 3)
  })
})

describe('docker archives', () => {
  const save = (edit: (image: Record<string, unknown>) => void = () => {}) => {
    const directory = layout({ layers: [layer('a'), layer('b')] })
    const read = (digest: string) => readFileSync(join(directory, 'blobs/sha256', digest.slice(7)))
    const index = JSON.parse(readFileSync(join(directory, 'index.json'), 'utf8'))
    const manifest = JSON.parse(read(index.manifests[0].digest).toString())
    const blob = (digest: string) => `blobs/sha256/${digest.slice(7)}`
    const image = {
      Config: blob(manifest.config.digest),
      RepoTags: ['app:1', 'app:latest'],
      Layers: manifest.layers.map(({ digest }: { digest: string }) => blob(digest)),
    }
    edit(image)
    writeFileSync(join(directory, 'manifest.json'), JSON.stringify([image]))
    return archived(directory)
  }

  test('the image is found by its name, which has a colon, or alone', async () => {
    const file = save()
    for (const source of [`docker-archive:${file}`, `docker-archive:${file}:app:1`]) {
      const { read } = await open(source)
      expect([read('a'), read('b')]).toEqual(['a', 'b'])
    }
    await expect(open(`docker-archive:${file}:other:1`)).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      remedy: 'add one of its names: app:1, app:latest',
    })
  })

  test('names in a remedy are cut', async () => {
    const file = save((image) =>
      Object.assign(image, { RepoTags: ['a', 'b'].map((it) => it.repeat(100_000)) }),
    )
    const error = await open(`docker-archive:${file}:other`).catch((it) => it)
    expect(error.remedy).toMatch(/a{900}/)
    expect(error.remedy.length).toBeLessThan(1_100)
  })

  test('names lead to nothing outside the archive', async () => {
    for (const Config of ['/etc/hostname', '../../../etc/hostname', '']) {
      const file = save((image) => Object.assign(image, { Config }))
      await expect(open(`docker-archive:${file}`)).rejects.toMatchObject({
        code: expect.stringMatching(/^(NOT_FOUND|PATH_INVALID|FORMAT_INVALID)$/),
      })
    }
  })
})

describe('errors that quote an image', () => {
  const long = (n: number) => `${n}${'x'.repeat(60_000)}`
  test.each([
    ['tags', () => `oci:${layout(...[1, 2].map((n) => ({ layers: [layer('a')], tag: long(n) })))}`],
    ['architectures', () => `oci:${layout({ layers: [layer('a')], architecture: long(1) })}`],
    ['platforms', () => `oci:${layout({ layers: [layer('a')], architecture: long(1), nested: true })}`],
  ])('%s are cut', async (_, made) => {
    const error = await open(made()).catch((it) => it)
    expect(`${error.message} ${error.remedy}`).toMatch(/x{60}/)
    expect(error.remedy.length).toBeLessThan(1_100)
    expect(error.message.length).toBeLessThan(1_000)
  })
})

test.each([
  ['oci:dir', { kind: 'oci', directory: 'dir', tag: undefined }],
  ['oci:/a/b:3.12', { kind: 'oci', directory: '/a/b', tag: '3.12' }],
  ['docker-archive:x.tar:r:5000/a:1', { kind: 'docker-archive', file: 'x.tar', name: 'r:5000/a:1' }],
  ['debian:bookworm', { kind: 'debian', suite: 'bookworm', packages: [] }],
  ['debian:trixie+g+++make', { kind: 'debian', suite: 'trixie', packages: ['g++', 'make'] }],
  ['python:3.12', { kind: 'registry', reference: 'python:3.12' }],
  ['localhost:5000/a/b:1', { kind: 'registry', reference: 'localhost:5000/a/b:1' }],
  ['docker://alpine', { kind: 'registry', reference: 'alpine' }],
])('%s names an image', (text, source) => {
  expect(parseImageSource(text)).toEqual(source)
})

test.each([
  '',
  'oci:',
  'debian:',
  'debian:bookworm+--simulate',
  'debian:--x',
  '-rf',
  'a b',
  'docker:--help',
  'x\n',
])('%j names none', (text) => {
  expect(() => parseImageSource(text)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
})
