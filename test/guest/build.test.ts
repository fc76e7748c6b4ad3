import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { bootGuest, buildGuest } from '@varve/guest'
import { type MadeEntry, madeTar, writeMadeLayout } from '@varve/guest/testing'
import { listMachines } from 'varve'
import { hashFile } from 'varve/testing'
import { beforeAll, describe, expect, test } from 'vitest'
import { startVarve, varve } from '../support/cli.js'
import { startDockerRegistry } from '../support/docker-registry.js'
import { failure } from '../support/failure.js'
import { type MicroWorld, microWorldOfFile } from '../support/micro-world.js'

const world = microWorldOfFile()
let layout: string

const files: readonly MadeEntry[] = [
  { name: 'bin', type: '5' },
  { name: 'bin/app', content: 'app', mode: 0o755 },
  { name: 'etc', type: '5' },
  { name: 'etc/secret', content: 'secret', mode: 0o600, uid: 7 },
]
const changes: readonly MadeEntry[] = [{ name: 'etc/.wh.secret' }, { name: 'etc/name', content: 'second' }]

beforeAll(() => {
  layout = join(world.directory, 'layout')
  writeMadeLayout(layout, [
    {
      layers: [{ tar: madeTar(files) }, { tar: madeTar(changes) }],
      tag: 'app',
      config: { Env: ['A=b'], Entrypoint: ['/bin/app'], User: 'app' },
    },
    { layers: [{ tar: madeTar(files) }], tag: 'base' },
  ])
})

/** The same world with a directory for guests of its own. */
function withGuests(env: Record<string, string> = {}): MicroWorld & { readonly guests: string } {
  const guests = join(mkdtempSync(join(world.directory, 'guests-')), 'guests')
  return { ...world, launch: world.launch, guests, env: { VARVE_GUESTS: guests, ...env } }
}

const build = (place: MicroWorld, image: string, name: string, ...more: string[]) =>
  varve(place, 'guest', 'build', image, '--name', name, '--kernel', world.kernel, '--json', ...more)

const work = (guests: string) => readdirSync(join(guests, 'work'))

describe('varve guest', () => {
  test('builds, lists, shows and removes guests; the same image gives the same disk, once', async () => {
    const place = withGuests()
    const app = await build(place, `oci:${layout}:app`, 'app')
    expect(app).toMatchObject({ status: 0 })
    const { rootDisk, kernel, config, cached } = app.json()
    expect(cached).toBe(false)
    expect(config).toMatchObject({ env: ['A=b'], entrypoint: ['/bin/app'], user: 'app' })
    expect(await hashFile(rootDisk.path)).toEqual({ digest: rootDisk.digest, size: rootDisk.sizeBytes })
    expect(readFileSync(kernel.path).equals(readFileSync(world.kernel))).toBe(true)
    expect(statSync(rootDisk.path).mode & 0o777).toBe(0o600)

    expect((await build(place, `oci:${layout}:app`, 'again')).json()).toMatchObject({
      cached: true,
      rootDisk,
    })
    // Made anew, in another directory and later.
    await sleep(1100)
    expect((await build(withGuests(), `oci:${layout}:app`, 'app')).json().rootDisk.digest).toBe(
      rootDisk.digest,
    )
    expect((await build(place, `oci:${layout}:base`, 'base')).json().rootDisk.digest).not.toBe(
      rootDisk.digest,
    )

    const listed = (await varve(place, 'guest', 'ls')).stdout
    expect(listed).toMatch(/^NAME +IMAGE +KERNEL/)
    expect(listed.split('\n').map((line) => line.split(' ')[0])).toEqual(['NAME', 'again', 'app', 'base', ''])
    expect((await varve(place, 'guest', 'show', 'app')).stdout).toMatch(/entry point +"\/bin\/app"/)
    expect((await varve(place, 'guest', 'rm', 'app', 'again')).status).toBe(0)
    expect(existsSync(rootDisk.path)).toBe(false)
    expect((await varve(place, 'guest', 'show', 'app')).stderr).toContain('[NOT_FOUND]')
  })

  test('gives a disk the size that it is told, and says how large it must be', async () => {
    const place = withGuests()
    const { rootDisk } = (await build(place, `oci:${layout}:app`, 'app', '--size', '64')).json()
    expect(rootDisk.sizeBytes).toBe(64 * 1024 * 1024)
    const small = await build(place, `oci:${layout}:app`, 'app', '--size', '1')
    expect(small.status).toBe(2)
    expect(small.stderr).toMatch(/give it \d+ MiB or more/)
    expect(work(place.guests)).toEqual([])
  })

  test('fetches from a registry', async () => {
    await using registry = await startDockerRegistry()
    const place = withGuests()
    const pulled = await build(place, await registry.push(layout, 'app'), 'app')
    expect(pulled.stderr).not.toContain('[')
    const local = await build(place, `oci:${layout}:app`, 'local')
    expect(pulled.json().rootDisk).toEqual(local.json().rootDisk)
    expect(local.json().cached).toBe(true)
    const missing = await build(place, `${registry.host}/test/none:1`, 'none')
    expect(missing.status).toBe(3)
    expect(work(place.guests)).toEqual([])
  })

  test('names the package that brings a missing tool', async () => {
    const only = join(world.directory, 'no-tools')
    mkdirSync(only)
    const place = withGuests({ PATH: only })
    for (const [image, tool] of [
      ['registry.invalid/app:1', 'skopeo'],
      ['debian:bookworm', 'mmdebstrap'],
    ] as const) {
      const { status, stderr } = await build(place, image, 'app')
      expect(status).toBe(3)
      expect(stderr).toContain(`apt-get install ${tool}`)
    }
  })
})

/** A program in place of mmdebstrap. */
function stub(name: string, script: string): { readonly PATH: string; readonly said: string } {
  const folder = join(world.directory, name)
  mkdirSync(folder)
  const said = join(folder, 'said')
  writeFileSync(join(folder, 'mmdebstrap'), `#!/bin/sh\n${script.replaceAll('SAID', said)}\n`)
  chmodSync(join(folder, 'mmdebstrap'), 0o755)
  return { PATH: `${folder}:${process.env.PATH}`, said }
}

async function until(ready: () => boolean): Promise<void> {
  for (let tries = 0; !ready(); tries++) {
    if (tries > 500) throw new Error('it did not happen')
    await sleep(20)
  }
}

describe('builds at the same time and builds that end early', () => {
  test('eight processes that build one guest and guests of their own all succeed', async () => {
    const place = withGuests()
    const names = ['app', 'app', 'app', 'app', 'a', 'b', 'c', 'd']
    const all = await Promise.all(names.map((name) => build(place, `oci:${layout}:app`, name)))
    for (const { status, stderr } of all) expect({ status, stderr }).toMatchObject({ status: 0 })
    expect(new Set(all.map((it) => it.json().rootDisk.digest)).size).toBe(1)
    expect(readdirSync(join(place.guests, 'blobs/sha256')).length).toBe(3)
    expect(work(place.guests)).toEqual([])
  })

  test('packages are given to mmdebstrap one by one, and its archive is the image', async () => {
    const made = join(world.directory, 'made.tar')
    writeFileSync(made, madeTar(files))
    const { PATH, said } = stub(
      'good',
      `echo "$@" $SOURCE_DATE_EPOCH >SAID; for target; do :; done; cp ${made} "$target"`,
    )
    const place = withGuests({ PATH, SOURCE_DATE_EPOCH: '1700000000' })
    const built = await build(place, 'debian:bookworm+python3+g++', 'deb')
    expect(built).toMatchObject({ status: 0 })
    expect(readFileSync(said, 'utf8')).toMatch(
      /^--quiet --variant=minbase --format=tar --include=python3,g\+\+ bookworm \S+\/debian\.tar 1700000000\n$/,
    )
    const base = await build(withGuests(), `oci:${layout}:base`, 'base')
    // Equal but for what the image says of its environment.
    expect(built.json().rootDisk.inodes).toBe(base.json().rootDisk.inodes)
  })

  test.each(['SIGINT', 'SIGTERM'] as const)('%s ends the tool and leaves nothing', async (signal) => {
    const { PATH, said } = stub(signal, 'echo $$ >SAID; exec sleep 60')
    const place = withGuests({ PATH })
    const { child, result } = startVarve(place, 'guest', 'build', 'debian:bookworm', '--name', 'deb')
    await until(() => existsSync(said) && readFileSync(said, 'utf8') !== '')
    child.kill(signal)
    expect(await result).toMatchObject({ status: 130, stderr: expect.stringContaining('[INTERRUPTED]') })
    expect(work(place.guests)).toEqual([])
    expect(readdirSync(join(place.guests, 'names'))).toEqual([])
    const pid = Number(readFileSync(said, 'utf8'))
    await until(() => !existsSync(`/proc/${pid}`))
  })

  test('what a killed build leaves goes with the next one', async () => {
    const { PATH, said } = stub('killed', 'echo $$ >SAID; exec sleep 60')
    const place = withGuests({ PATH })
    const { child } = startVarve(place, 'guest', 'build', 'debian:bookworm', '--name', 'deb')
    await until(() => existsSync(said) && readFileSync(said, 'utf8') !== '')
    const ended = once(child, 'close')
    child.kill('SIGKILL')
    process.kill(Number(readFileSync(said, 'utf8')), 'SIGKILL')
    await ended
    expect(work(place.guests)).toHaveLength(1)
    expect(await build(place, `oci:${layout}:app`, 'app')).toMatchObject({ status: 0 })
    expect(work(place.guests)).toEqual([])
  })
})

describe('booting a guest', () => {
  test('whose agent does not answer ends the machine and its disk', async () => {
    const { guests } = withGuests()
    await buildGuest(`oci:${layout}:app`, { name: 'mute', directory: guests, kernel: world.kernel })
    const boot = bootGuest('mute', { directory: guests, readyMs: 1500, ...world.launch })
    await until(() => readdirSync(join(guests, 'disks')).length > 0)
    expect(await failure(boot)).toMatchObject({ code: 'TIMEOUT' })
    expect(readdirSync(join(guests, 'disks'))).toEqual([])
    expect(listMachines(world.runtimeDirectory)).toEqual([])
  })

  test('that there is not, or with files of its own and others, is refused', async () => {
    const place = withGuests()
    expect(await varve(place, 'boot', '--guest', 'none')).toMatchObject({
      status: 6,
      stderr: expect.stringContaining('varve guest ls'),
    })
    const both = await varve(place, 'boot', '--guest', 'none', '--kernel', world.kernel)
    expect(both).toMatchObject({ status: 2, stderr: expect.stringContaining('exclude each other') })
  })
})
