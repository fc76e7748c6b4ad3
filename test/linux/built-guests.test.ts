import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildGuest } from '@varve/guest'
import { busyboxBinary, type MadeEntry, madeTar, runTool, writeMadeLayout } from '@varve/guest/testing'
import { openNestedLab } from '@varve/lab'
import { afterAll, beforeAll, expect, test } from 'vitest'

/**
 * Guests of three kinds of images, built here and booted in the nested lab: one with musl's busybox alone, as
 * Alpine is at heart; one with a shell and programs of glibc; one with a program and nothing else.
 */

const timeoutMs = 900_000
const mib = 1024 * 1024

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'varve-built-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const dir = (name: string): MadeEntry => ({ name, type: '5' })
const link = (name: string, linkName: string): MadeEntry => ({ name, type: '2', linkName })
const program = (name: string, path: string): MadeEntry => ({
  name,
  content: readFileSync(path),
  mode: 0o755,
})

/** A program of this host with the libraries that it needs, at their own paths. */
async function withLibraries(path: string): Promise<MadeEntry[]> {
  const needed = String(await runTool('ldd', [path])).matchAll(/(\/\S+) \(0x/g)
  return [path, ...[...needed].map(([, library]) => library as string)].map((it) => program(it.slice(1), it))
}

const passwd = 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n'

async function images(): Promise<Record<string, { layers: MadeEntry[][]; config: Record<string, unknown> }>> {
  const busybox = await busyboxBinary()
  const applets = [
    'cat',
    'hostname',
    'id',
    'pwd',
    'sh',
    'stat',
    'head',
    'md5sum',
    'date',
    'sleep',
    'tr',
    'mount',
  ]
  return {
    musl: {
      layers: [
        [
          ...['bin', 'etc', 'home', 'root', 'var', 'var/log'].map(dir),
          program('bin/busybox', busybox),
          ...applets.map((it) => link(`bin/${it}`, 'busybox')),
          { name: 'etc/passwd', content: passwd },
          { name: 'etc/group', content: 'root:x:0:\napp:x:1000:\n' },
          { name: 'etc/gone', content: 'gone' },
          { ...dir('home/app'), uid: 1000, gid: 1000, mode: 0o700 },
        ],
        [
          { name: 'etc/.wh.gone' },
          {
            name: 'home/app/tool',
            content: '#!/bin/sh\necho "$A as $(id -un) in $(pwd)"\n',
            mode: 0o4755,
            uid: 1000,
          },
          { name: 'home/app/same', type: '1', linkName: 'home/app/tool' },
          { name: 'var/tty', type: '3', device: [5, 0], mode: 0o666, gid: 5 },
        ],
      ],
      config: { Env: ['A=from the image'], User: 'app', WorkingDir: '/home/app' },
    },
    glibc: {
      layers: [
        [
          dir('etc'),
          { name: 'etc/passwd', content: passwd },
          dir('usr'),
          ...['bin', 'lib', 'lib64'].flatMap((it) => [dir(`usr/${it}`), link(it, `usr/${it}`)]),
          link('bin/sh', 'dash'),
          ...(await withLibraries('/usr/bin/dash')),
          ...(await withLibraries('/usr/bin/cat')),
        ],
      ],
      config: { Entrypoint: ['/bin/dash', '-c', 'echo started by the image >/run/started'] },
    },
    bare: {
      layers: [[program('cat', busybox)]],
      config: { Entrypoint: ['/cat'] },
    },
  }
}

const asRoot = { user: '0', cwd: '/' }
const own: readonly unknown[] = [
  ['hostname', ['cat', '/proc/sys/kernel/hostname']],
  ['machineId', ['cat', '/etc/machine-id']],
  ['entropy', ['sh', '-c', 'head -c 4096 /dev/urandom | md5sum']],
  ['uuid', ['cat', '/proc/sys/kernel/random/uuid']],
  ['clock', ['date', '+%s']],
  ['kept', ['cat', '/home/app/kept']],
  ['disk', ['sh', '-c', 'cat /home/app/kept; id -u >>/home/app/kept; cat /home/app/kept | tr "\\n" " "']],
]

const commands = {
  bare: [
    ['version', ['/cat', '/proc/version']],
    ['root', ['/cat', '/proc/mounts']],
  ],
  glibc: [
    ['started', ['cat', '/run/started']],
    ['cpus', ['cat', '/sys/devices/system/cpu/online']],
  ],
  musl: [
    ['tool', ['./tool']],
    ['same', ['stat', '-c', '%u %g %a %h %F', '/home/app/same'], asRoot],
    ['device', ['stat', '-c', '%u %g %a %t:%T', '/var/tty'], asRoot],
    ['gone', ['stat', '/etc/gone'], asRoot],
    ['write', ['sh', '-c', 'echo kept >/home/app/kept && cat /home/app/kept']],
    ['hostname', ['hostname']],
    ['machineId', ['cat', '/etc/machine-id']],
  ],
}

interface Said {
  readonly guests: Record<string, Record<string, string | number>>
  readonly clones: readonly Record<string, string>[]
  readonly run: readonly { readonly status: number; readonly stdout: string; readonly stderr: string }[]
  readonly disksLeft: number
  readonly machinesLeft: number
}

test(
  'guests of a musl, a glibc and a bare image boot, run commands, and four clones of one are four guests',
  async () => {
    const layout = join(folder, 'layout')
    const made = Object.entries(await images()).map(([tag, { layers, config }]) => ({
      tag,
      config,
      layers: layers.map((it) => ({ tar: madeTar(it) })),
    }))
    writeMadeLayout(layout, made)
    const directory = join(folder, 'guests')
    for (const { tag } of made)
      await buildGuest(`oci:${layout}:${tag}`, {
        name: tag,
        directory,
        sizeBytes: 32 * mib,
        entry: tag === 'glibc',
      })
    const files = readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((it) => it.isFile())
      .map((it) => join(it.parentPath, it.name))

    await using lab = await openNestedLab()
    const { exitCode, stderr, result } = await lab.run({
      script: fileURLToPath(new URL('../nested-lab/linux-built-guests.mjs', import.meta.url)),
      args: [JSON.stringify({ commands, clones: { of: 'musl', count: 4, commands: own } })],
      files: Object.fromEntries(files.map((path) => [`guests/${relative(directory, path)}`, path])),
      onOutput: (text) => process.stderr.write(text),
      timeoutMs,
    })
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
    const { guests, clones, run, disksLeft, machinesLeft } = result as Said
    expect(guests.bare).toMatchObject({
      agentPid: 1,
      ownDisks: 1,
      version: expect.stringMatching(/^Linux version/),
    })
    expect(guests.bare?.root).toMatch(/^\/dev\/(?:root|vda) \/ ext4 rw/m)
    expect(guests.glibc).toMatchObject({ started: 'started by the image', cpus: '0-1' })
    expect(guests.musl).toMatchObject({
      tool: 'from the image as app in /home/app',
      same: '1000 0 4755 2 regular file',
      device: '0 5 666 5:0',
      gone: expect.stringMatching(/^status 1/),
      write: 'kept',
      hostname: 'musl',
      machineId: expect.stringMatching(/^[0-9a-f]{32}$/),
    })
    expect(clones).toHaveLength(4)
    for (const clone of clones) {
      expect(clone).toMatchObject({ hostname: clone.name, kept: 'kept', disk: 'kept\nkept 1000' })
      // The guest says whole seconds, and an emulated answer takes some; it was captured longer ago.
      expect(Math.abs(Number(clone.offMs))).toBeLessThan(10_000)
    }
    for (const field of ['hostname', 'machineId', 'entropy', 'uuid'])
      expect(new Set([...clones, guests.musl].map((it) => it?.[field])).size).toBe(5)
    expect(run).toEqual([
      { status: 7, stdout: 'Linux\n', stderr: expect.any(String) },
      { status: 0, stdout: 'kept\n', stderr: expect.any(String) },
    ])
    expect({ disksLeft, machinesLeft }).toEqual({ disksLeft: 0, machinesLeft: 0 })
  },
  timeoutMs,
)
