import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { buildGuest } from '@varve/guest'
import { writeMadeLayout } from '@varve/guest/testing'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { startDockerRegistry } from '../support/docker-registry.js'
import { keepDebians } from '../support/kept-debians.js'

/** The first run installs Debian, which takes minutes over a slow line. */
const timeoutMs = 900_000

let folder: string
let archive: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'varve-debian-'))
  archive = keepDebians(join(folder, 'programs'))
})
afterAll(() => rmSync(folder, { recursive: true }))

test(
  'a guest is built of Debian’s packages, and an image of the same files in a registry gives the same disk',
  async () => {
    const options = { name: 'debian', directory: join(folder, 'guests'), sizeBytes: 256 * 1024 * 1024 }
    const { guest, cached } = await buildGuest('debian:bookworm', options)
    expect({ cached, cmd: guest.config.cmd }).toEqual({ cached: false, cmd: ['/bin/bash'] })
    expect(guest.rootDisk.inodes).toBeGreaterThan(5_000)

    const layout = join(folder, 'layout')
    const pack = (tar: Buffer) => gzipSync(tar, { level: 1 })
    const config = { Env: guest.config.env, Cmd: guest.config.cmd }
    writeMadeLayout(layout, [{ tag: 'debian', config, layers: [{ tar: readFileSync(archive), pack }] }])
    await using registry = await startDockerRegistry()
    const pulled = await buildGuest(await registry.push(layout, 'debian'), options)
    expect(pulled).toMatchObject({ cached: true, guest: { rootDisk: guest.rootDisk } })
  },
  timeoutMs,
)
