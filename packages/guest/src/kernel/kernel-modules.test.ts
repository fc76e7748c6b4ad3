import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { kernelModules, moduleDependencies } from './kernel-modules.js'

let directory: string

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-modules-'))
  writeFileSync(
    join(directory, 'modules.builtin'),
    'kernel/drivers/rtc/rtc-core.ko\nkernel/fs/ext4/ext4.ko\n',
  )
})

afterEach(() => rmSync(directory, { recursive: true }))

const moduleWith = (depends: string) =>
  Buffer.from(`\x7fELF\0\0license=GPL\0depends=${depends}\0retpoline=Y\0`, 'latin1')

function place(path: string, content: Buffer): void {
  mkdirSync(dirname(join(directory, 'kernel', path)), { recursive: true })
  writeFileSync(join(directory, 'kernel', path), content)
}

const names = async (...wanted: string[]) => (await kernelModules(directory, wanted)).map(({ name }) => name)

describe('kernelModules', () => {
  test('puts each module behind what it depends on, once, and leaves out what is built in', async () => {
    place('drivers/virtio/virtio_ring.ko', moduleWith(''))
    place('drivers/virtio/virtio.ko', moduleWith('virtio_ring'))
    place('drivers/block/virtio_blk.ko', moduleWith('virtio,virtio_ring'))
    place('drivers/char/virtio-rng.ko', moduleWith('virtio-ring,virtio,rtc-core'))
    expect(await names('virtio_blk', 'virtio-rng', 'ext4')).toEqual([
      'virtio_ring',
      'virtio',
      'virtio_blk',
      'virtio_rng',
    ])
  })

  test('unpacks compressed modules', async () => {
    place('a.ko.gz', gzipSync(moduleWith('b')))
    place('b.ko', moduleWith(''))
    const [b, a] = await kernelModules(directory, ['a'])
    expect([b?.name, a?.name]).toEqual(['b', 'a'])
    expect(a?.content.equals(moduleWith('b'))).toBe(true)
  })

  test('a missing module is an error unless it is optional', async () => {
    place('a.ko', moduleWith(''))
    await expect(names('gone')).rejects.toMatchObject({ code: 'HOST_UNSUPPORTED' })
    expect(await names('gone?', 'a')).toEqual(['a'])
  })

  test('modules that depend on each other end', async () => {
    place('a.ko', moduleWith('b'))
    place('b.ko', moduleWith('a'))
    expect(await names('a')).toEqual(['b', 'a'])
  })
})

test('moduleDependencies takes a file without the entry, or cut off in it', () => {
  expect(moduleDependencies(Buffer.from('no module'))).toEqual([])
  expect(moduleDependencies(Buffer.from('\0depends=a,b-c'))).toEqual(['a', 'b_c'])
})
