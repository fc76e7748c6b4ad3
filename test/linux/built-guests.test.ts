import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { buildGuest } from '@varve/guest'
import { kernelModules, kernelPackage, writeMadeLayout } from '@varve/guest/testing'
import { transform } from 'esbuild'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type DockerRegistry, startDockerRegistry } from '../support/docker-registry.js'
import { keepDebians } from '../support/kept-debians.js'
import { openLinuxHost } from '../support/linux-host.js'
import { debianOf, smallImages } from '../support/small-images.js'

/**
 * Guests of three kinds of images from a registry, as users build them: Debian; one with musl's busybox
 * alone, as Alpine is at heart; one with the programs of one service and nothing else, as "distroless"
 * images are. Each is booted, runs commands, is captured and cloned.
 */

const timeoutMs = process.env.VARVE_IMAGE_INITS === undefined ? 900_000 : 2_400_000
const mib = 1024 * 1024

let folder: string
let directory: string
let registry: DockerRegistry
let lastDebian: string
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'varve-built-'))
  directory = join(folder, 'guests')
  lastDebian = keepDebians(join(folder, 'programs'))
  registry = await startDockerRegistry()
})
afterAll(async () => {
  await registry[Symbol.asyncDispose]()
  rmSync(folder, { recursive: true })
})

/** Of each kind: what the test does with it. */
const often = { memoryMib: 128, raw: 2, clones: 4 } as const
const guests = [
  {
    name: 'musl',
    ...often,
    vcpus: 4,
    programs: '/bin',
    commands: [
      ['tool', ['./tool']],
      ['same', ['stat', '-c', '%u %g %a %h %F', '/home/app/same'], { user: '0', cwd: '/' }],
      ['device', ['stat', '-c', '%u %g %a %t:%T', '/var/tty'], { user: '0', cwd: '/' }],
      ['gone', ['stat', '/etc/gone'], { user: '0', cwd: '/' }],
      ['cpus', ['cat', '/sys/devices/system/cpu/online']],
      ['write', ['sh', '-c', 'echo kept >/home/app/kept && cat /home/app/kept']],
    ],
    ofClones: [['disk', ['sh', '-c', 'id -u >>/home/app/kept; cat /home/app/kept']]],
  },
  {
    name: 'bare',
    ...often,
    vcpus: 2,
    programs: '',
    commands: [
      ['started', ['/cat', '/run/started']],
      ['root', ['/cat', '/proc/mounts']],
      ['cpus', ['/cat', '/sys/devices/system/cpu/online']],
    ],
    ofClones: [],
  },
  {
    name: 'debian',
    ...often,
    vcpus: 1,
    programs: '/usr/bin',
    files: { '/run/loopback-peer.pl': 'loopback-peer.pl', '/run/vsock_loopback.ko': 'vsock_loopback.ko' },
    commands: [
      ['release', ['sh', '-c', '. /etc/os-release; echo $VERSION_CODENAME']],
      ['apt', ['dpkg-query', '-W', '-f', '$' + '{db:Status-Status}', 'apt']],
      ['peers', ['perl', '/run/loopback-peer.pl', '/run/vsock_loopback.ko']],
    ],
    ofClones: [],
  },
] as const

/**
 * Debian guests whose own init runs, with the agent as its service. They take minutes to boot, emulated, so
 * they come along if `VARVE_IMAGE_INITS` is set.
 */
const withInit = { memoryMib: 256, vcpus: 1, raw: 0, clones: 1, programs: '/usr/bin', ofClones: [] } as const
const initOf = ['init', ['cat', '/proc/1/comm']] as const
const oom = ['oom', ['cat', '/proc/self/oom_score_adj']] as const
const knownInits = [
  {
    name: 'systemd',
    packages: 'systemd-sysv',
    ...withInit,
    commands: [initOf, oom, ['service', ['systemctl', 'is-active', 'varve-agent']]],
  },
  {
    name: 'openrc',
    packages: 'openrc+sysvinit-core',
    ...withInit,
    commands: [initOf, oom, ['service', ['rc-service', 'varve-agent', 'status']]],
  },
] as const
const inits = process.env.VARVE_IMAGE_INITS === undefined ? [] : knownInits

/** As a user types it, when the guest `musl` was captured as `of-musl`. */
const runs = [
  ['run', 'musl', '--vcpus', '2', '--', 'sh', '-c', 'cat /proc/sys/kernel/ostype; exit 7'],
  ['run', 'of-musl', '--', 'cat', '/home/app/kept'],
]

interface Identity {
  readonly [field: string]: string | number
  readonly earlyMs: number
  readonly lateMs: number
}

interface Said {
  readonly example: { readonly kernel: string; readonly lines: readonly string[] }
  readonly guests: Readonly<
    Record<
      (typeof guests | typeof knownInits)[number]['name'],
      {
        readonly said: Record<string, string | number>
        readonly ownDisks: number
        readonly source: Identity
        readonly raw: readonly Identity[]
        readonly clones: readonly (Identity & { readonly name: string })[]
      }
    >
  >
  readonly runs: readonly { readonly status: number; readonly stdout: string; readonly stderr: string }[]
  readonly disksLeft: number
  readonly machinesLeft: number
}

test(
  'guests are built of images in a registry, and of Debian’s packages; equal layers give one disk',
  async () => {
    const layout = join(folder, 'layout')
    writeMadeLayout(layout, await smallImages())
    for (const name of ['musl', 'bare']) {
      const image = await registry.push(layout, name)
      const { guest } = await buildGuest(image, {
        name,
        directory,
        sizeBytes: 16 * mib,
        entry: name === 'bare',
      })
      expect(guest.source.reference).toBe(image)
    }
    const options = { name: 'debian', directory, sizeBytes: 256 * mib }
    const made = await buildGuest('debian:bookworm', options)
    expect(made).toMatchObject({ cached: false, guest: { config: { cmd: ['/bin/bash'] } } })
    expect(made.guest.rootDisk.inodes).toBeGreaterThan(5_000)
    const debian = join(folder, 'debian-layout')
    writeMadeLayout(debian, [debianOf(lastDebian, made.guest.config)])
    const pulled = await buildGuest(await registry.push(debian, 'debian'), options)
    expect(pulled).toMatchObject({ cached: true, guest: { rootDisk: made.guest.rootDisk } })
  },
  timeoutMs,
)

test.each(inits)(
  'a guest of an image with $name gets the agent as a service',
  async ({ name, packages }) => {
    const options = { name, directory, init: 'image', sizeBytes: 288 * mib } as const
    const { guest } = await buildGuest(`debian:bookworm+${packages}`, options)
    expect(guest.rootDisk.inodes).toBeGreaterThan(9_000)
  },
  timeoutMs,
)

async function withoutTypes(source: URL): Promise<string> {
  return (await transform(readFileSync(source, 'utf8'), { loader: 'ts', target: 'node20' })).code
}

describe('booted, captured and cloned', () => {
  let found: Said
  beforeAll(async () => {
    const { modulesDirectory } = await kernelPackage()
    const module = (await kernelModules(modulesDirectory, ['vsock_loopback'])).at(-1)
    const loopback = join(folder, 'vsock_loopback.ko')
    writeFileSync(loopback, module?.content ?? '')
    const example = join(folder, 'guest-commands.mjs')
    writeFileSync(example, await withoutTypes(new URL('../../examples/guest-commands.ts', import.meta.url)))
    const here = (name: string) => fileURLToPath(new URL(`../nested-lab/${name}`, import.meta.url))
    await using host = await openLinuxHost(directory)
    const { exitCode, stderr, result } = await host.run({
      script: here('linux-built-guests.mjs'),
      args: [JSON.stringify({ guests: [...guests, ...inits], runs })],
      files: {
        'guests-here.mjs': here('guests-here.mjs'),
        'guest-commands.mjs': example,
        'loopback-peer.pl': here('loopback-peer.pl'),
        'vsock_loopback.ko': loopback,
      },
      onOutput: (text) => process.stderr.write(text),
      timeoutMs,
    })
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
    found = result as Said
  }, timeoutMs)

  test('each guest has the agent as init, the files of its image, and its own disk', () => {
    const { musl, bare, debian } = found.guests
    for (const { said, ownDisks } of [musl, bare, debian])
      expect({ pid: said.agentPid, ownDisks }).toEqual({ pid: 1, ownDisks: 1 })
    expect(musl.said).toMatchObject({
      tool: 'from the image as app in /home/app',
      same: '1000 0 4755 2 regular file',
      device: '0 5 666 5:0',
      gone: expect.stringMatching(/^status 1/),
      write: 'kept',
      cpus: '0-3',
    })
    expect(bare.said).toMatchObject({ started: 'started by the image', cpus: '0-1' })
    expect(bare.said.root).toMatch(/^\/dev\/(?:root|vda) \/ ext4 rw/m)
    expect(debian.said).toMatchObject({ release: 'bookworm', apt: 'installed' })
  })

  test('the agent answers no program of the guest, whatever number it connects from', () => {
    const greeting = Buffer.from('VARV\x03\0\0\0', 'latin1').toString('hex')
    // By CID 1 and by the guest's own: the echo of the guest's own listener, and nothing from the agent.
    expect(found.guests.debian.said.peers).toBe([greeting, '', greeting, ''].join())
  })

  test.each(guests)(
    'four clones of $name differ from it and from each other, and know the time',
    ({ name }) => {
      const { source, clones } = found.guests[name]
      expect(clones).toHaveLength(4)
      for (const field of ['hostname', 'machineId', 'entropy', 'uuid'])
        expect(new Set([source, ...clones].map((it) => it[field])).size, field).toBe(5)
      for (const clone of clones) {
        expect(clone.hostname).toBe(clone.name)
        expect(clone.machineId).toMatch(/^[0-9a-f]{32}$/)
        expect(clone.entropy).toMatch(/^[0-9a-f]{64}$/)
        // `date` cuts to a second; the rest is what reading clocks takes, emulated.
        expect(clone.earlyMs).toBeLessThan(1_500)
        expect(clone.lateMs).toBeLessThan(500)
      }
    },
  )

  test.each(guests)('without a fix-up two clones of $name have its host name and machine id', ({ name }) => {
    const { source, raw } = found.guests[name]
    const [one, two] = raw as [Identity, Identity]
    for (const field of ['hostname', 'machineId'])
      expect([one[field], two[field]], field).toEqual([source[field], source[field]])
  })

  test.each(inits)(
    '$name starts the agent at boot and again when it ends, and a clone gets its name',
    ({ name }) => {
      const { said, source, clones } = found.guests[name]
      expect(said).toMatchObject({
        init: name === 'systemd' ? 'systemd' : 'init',
        oom: '0',
        service: expect.stringMatching(/^active$|status: started/),
      })
      expect(said.agentPid).toBeGreaterThan(1)
      expect(said.restartedPid).toBeGreaterThan(said.agentPid as number)
      const [clone] = clones
      expect(clone?.hostname).toBe(clone?.name)
      expect(clone?.machineId).not.toBe(source.machineId)
    },
  )

  test('the example follows a command that never ends, and ends it', () => {
    expect(found.example).toEqual({
      kernel: expect.stringMatching(/^\d+\.\d+/),
      lines: ['again', 'again', 'again'],
    })
  })

  test('each clone has a disk of its own, and nothing is left', () => {
    expect(found.guests.musl.clones.map((it) => it.disk)).toEqual(Array(4).fill('kept\n1000'))
    expect(found.runs).toEqual([
      { status: 7, stdout: 'Linux\n', stderr: expect.any(String) },
      { status: 0, stdout: 'kept\n', stderr: expect.any(String) },
    ])
    expect([found.disksLeft, found.machinesLeft]).toEqual([0, 0])
  })
})
