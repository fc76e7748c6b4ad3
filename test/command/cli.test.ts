import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { MicroConsole } from '@varve/lab'
import { isAlive, processIdentity } from 'varve/testing'
import { afterAll, describe, expect, test } from 'vitest'
import { varve } from '../support/cli.js'
import { microWorldOfFile } from '../support/micro-world.js'

const world = microWorldOfFile()
afterAll(async () => {
  await varve(world, 'stop', '--all')
})

const machines = async () =>
  (await varve(world, 'ps', '--json')).json().machines as {
    id: string
    state: string
    directory: string
  }[]
const stateOf = async (id: string) => (await machines()).find((it) => it.id === id)?.state

describe('machines outlive the command that started them', () => {
  test('boot refuses huge pages that the host does not have', async () => {
    const spec = { kernel: world.kernel, memoryMib: 2 ** 20, vcpus: 1, name: 'huge', hugePages: true }
    writeFileSync(world.path('huge.json'), JSON.stringify(spec))
    const { status, stderr } = await varve(world, 'boot', '--spec', 'huge.json')
    expect(status).toBe(3)
    expect(stderr).toContain('memory take 524288 huge pages of 2 MiB, and this host has')
    expect(stderr).toContain('raise vm.nr_hugepages')
    expect(await stateOf('huge')).toBeUndefined()
  })

  test('boot, ps, pause, resume, stop', async () => {
    const boot = await varve(
      world,
      'boot',
      '--kernel',
      'micro.elf',
      '--memory',
      '32',
      '--name',
      'web',
      '--json',
    )
    expect(boot.status, boot.stderr).toBe(0)
    const { id, pid, directory } = boot.json()
    expect(id).toBe('web')
    expect(statSync(directory).mode & 0o777).toBe(0o700)
    const [row] = await machines()
    expect(row).toMatchObject({
      id: 'web',
      state: 'running',
      pid,
      firecracker: '1.12.1',
      dirtyTracking: true,
    })
    expect((await varve(world, 'ps')).stdout).toMatch(/^NAME +STATE.*\nweb +running/)

    expect((await varve(world, 'pause', 'web')).status).toBe(0)
    expect(await stateOf('web')).toBe('paused')
    expect((await varve(world, 'pause', 'web')).status).toBe(5)
    expect((await varve(world, 'resume', 'web')).status).toBe(0)
    expect(await stateOf('web')).toBe('running')

    const identity = processIdentity(pid)
    expect((await varve(world, 'stop', 'web')).status).toBe(0)
    expect(identity && isAlive(identity)).toBe(false)
    expect(await machines()).toEqual([])
  })

  test('a spec file, with flags on top', async () => {
    writeFileSync(
      world.path('spec.json'),
      JSON.stringify({ kernel: 'micro.elf', memoryMib: 16, vcpus: 1, name: 'spec' }),
    )
    const boot = await varve(world, 'boot', '--spec', 'spec.json', '--memory', '24', '--json')
    expect(boot.status, boot.stderr).toBe(0)
    // Booted here: there was no restore that it could tell of.
    const stats = await varve(world, 'stats', 'spec', '--json')
    expect([stats.status, JSON.parse(stats.stderr).error.code]).toEqual([6, 'NOT_FOUND'])
    expect((await varve(world, 'stop', 'spec')).status).toBe(0)
    writeFileSync(
      world.path('spec.json'),
      JSON.stringify({ kernel: 'micro.elf', memoryMib: 16, vcpus: 1, cores: 2 }),
    )
    const bad = await varve(world, 'boot', '--spec', 'spec.json', '--json')
    expect(bad.status).toBe(2)
    expect(JSON.parse(bad.stderr).error.message).toContain('cores')
  })

  test('a machine whose VMM died is recognised and cleaned', async () => {
    const { pid, directory } = (
      await varve(world, 'boot', '--kernel', 'micro.elf', '--memory', '16', '--name', 'gone', '--json')
    ).json()
    process.kill(pid, 'SIGKILL')
    while (processIdentity(pid)) await sleep(5)
    expect(await machines()).toEqual([])
    expect(() => statSync(directory)).toThrow('ENOENT')
    expect((await varve(world, 'stop', 'gone')).status).toBe(6)
  })
})

describe('snapshot and restore', () => {
  test('a base, a child, and every engine', async () => {
    expect(
      (await varve(world, 'boot', '--kernel', 'micro.elf', '--memory', '32', '--name', 'src')).status,
    ).toBe(0)
    const base = await varve(world, 'snapshot', 'create', 'src', '--tag', 'base', '--json')
    expect(base.status, base.stderr).toBe(0)
    expect(base.json()).toMatchObject({ parent: null, memoryPages: 8192 })
    expect(await stateOf('src')).toBe('running')
    const child = await varve(world, 'snapshot', 'create', 'src', '--tag', 'one', '--json')
    expect(child.status, child.stderr).toBe(0)
    expect(child.json()).toMatchObject({ parent: base.json().id, kind: 'diff', memoryPages: 8192 })
    for (const engine of ['file', 'paged', 'mapped']) {
      const restored = await varve(
        world,
        'restore',
        'one',
        '--name',
        `copy-${engine}`,
        '--engine',
        engine,
        '--json',
      )
      expect(restored.status, restored.stderr).toBe(0)
      expect(restored.json()).toMatchObject({
        id: `copy-${engine}`,
        state: 'running',
        engine,
        snapshot: child.json().id,
        layers: 2,
      })
      // The command has ended; the server of the guest's memory goes on.
      const row = (await machines()).find((it) => it.id === `copy-${engine}`)
      expect(row).toMatchObject({ state: 'running', snapshot: child.json().id })
      await using console = MicroConsole.attach({
        consoleInput: `${row?.directory}/console.in`,
        consoleOutput: `${row?.directory}/console.log`,
      })
      expect((await console.read({ start: 1024, count: 2000 })).count).toBe(2000)
    }
    const paused = await varve(world, 'restore', 'base', '--name', 'still', '--paused', '--json')
    expect(paused.status, paused.stderr).toBe(0)
    expect(await stateOf('still')).toBe('paused')
    const stopped = await varve(world, 'stop', '--all', '--json')
    expect(stopped.json().stopped.sort()).toEqual(['copy-file', 'copy-mapped', 'copy-paged', 'src', 'still'])
    expect(await machines()).toEqual([])
  })
})

describe('the command line itself', () => {
  test.each([
    [['frobnicate'], 2, 'USAGE'],
    [['boot', '--frobnicate'], 2, 'USAGE'],
    [['boot'], 2, 'USAGE'],
    [['boot', '--kernel', 'absent.elf'], 6, 'NOT_FOUND'],
    [['boot', '--kernel', 'spec.json'], 4, 'FORMAT_INVALID'],
    [['boot', '--kernel', '.'], 2, 'PATH_INVALID'],
    [['boot', '--kernel', 'micro.elf', '--memory', '0'], 2, 'INVALID_ARGUMENT'],
    [['boot', '--kernel', 'micro.elf', '--vcpus', '33'], 2, 'INVALID_ARGUMENT'],
    [['boot', '--kernel', 'micro.elf', '--root-disk', 'absent.img'], 6, 'NOT_FOUND'],
    [['boot', '--kernel', 'micro.elf', '--initrd', 'absent'], 6, 'NOT_FOUND'],
    [['pause', 'nobody'], 6, 'NOT_FOUND'],
    [['restore', 'nothing'], 6, 'NOT_FOUND'],
    [['snapshot', 'create', 'nobody'], 6, 'NOT_FOUND'],
    [['snapshot', 'show', 'nothing'], 6, 'NOT_FOUND'],
    [['snapshot', 'ls', '--store', 'nowhere'], 6, 'NOT_FOUND'],
    [['import', 'nowhere'], 6, 'NOT_FOUND'],
    [['inspect', 'nowhere'], 6, 'NOT_FOUND'],
  ] as const)('%j exits %i with %s', async (args, status, code) => {
    const plain = await varve(world, ...args)
    expect(plain.status, plain.stderr).toBe(status)
    expect(plain.stdout).toBe('')
    const json = await varve(world, ...args, '--json')
    expect(JSON.parse(json.stderr).error.code).toBe(code)
    expect(await machines()).toEqual([])
  })

  test.each([
    [[], /no kernel to boot was named \[USAGE\]\n {2}try: --guest GUEST, --kernel FILE/],
    [['--kernel', 'absent.elf'], /^varve: --kernel: kernel absent\.elf cannot be read/],
    [['--kernel', 'spec.json'], /^varve: --kernel: kernel spec\.json is no kernel/],
    [['--kernel', 'micro.elf', '--memory', '0'], /^varve: --memory: memoryMib is 0; /],
    [
      ['--kernel', 'micro.elf', '--disk', 'data=absent.img'],
      /^varve: --disk: disk data absent\.img cannot be read/,
    ],
  ] as const)('boot %j names the option, and launches nothing', async (args, message) => {
    const { stderr } = await varve(world, 'boot', ...args)
    expect(stderr).toMatch(message)
    expect(await machines()).toEqual([])
  })

  test('doctor speaks JSON and text', async () => {
    const json = await varve(world, 'doctor', '--json')
    const ids = json.json().checks.map((it: { id: string }) => it.id)
    for (const id of [
      'firecracker',
      'kvm',
      'userfaultfd',
      'ptrace',
      'reflink',
      'memory',
      'dirty-logging',
      'max-map-count',
      'fault-around',
    ])
      expect(ids).toContain(id)
    const version = JSON.parse(
      readFileSync(new URL('../../packages/core/package.json', import.meta.url), 'utf8'),
    ).version
    expect((await varve(world, '--version')).stdout.trim()).toBe(`varve ${version}`)
  })
})
