import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { mustRun, type NativeAgent, nativeAgent } from './agent-fixture.js'

/**
 * The real agent in namespaces of its own (host name, network, mounts), with a folder of ours as its /etc:
 * what it changes is not this machine's. The clock has no namespace; clock.test.ts has a guest of its own
 * for it.
 */
const unshare = ['unshare', '--uts', '--net', '--mount', '--propagation', 'private']
const possible = mustRun(unshare)
let native: NativeAgent
let etc: string

beforeAll(async () => {
  if (!possible) return
  etc = mkdtempSync(join(tmpdir(), 'varve-etc-'))
  chmodSync(etc, 0o755)
  for (const name of ['passwd', 'group']) copyFileSync(`/etc/${name}`, join(etc, name))
  writeFileSync(join(etc, 'machine-id'), `${'0'.repeat(32)}\n`)
  for (const name of ['fixup.d', 'hooks.d']) mkdirSync(join(etc, 'varve', name), { recursive: true })
  native = await nativeAgent([...unshare, 'sh', '-c', 'mount --bind "$0" /etc && exec "$@"', etc])
})
afterAll(async () => {
  if (!possible) return
  await native[Symbol.asyncDispose]()
  rmSync(etc, { recursive: true })
})

const inGuest = async (...argv: string[]) => (await native.agent.exec(argv)).stdout.toString()
const script = (path: string, text: string, mode = 0o755) => {
  writeFileSync(join(etc, 'varve', path), `#!/bin/sh\n${text}\n`)
  chmodSync(join(etc, 'varve', path), mode)
}
const names = (steps: readonly { readonly name: string }[]) => steps.map(({ name }) => name)

describe.runIf(possible)('users and defaults of the guest', () => {
  test('if what the image says is damaged, a command needs a user, and is not root’s', async () => {
    const image = join(etc, 'varve/image')
    for (const damaged of [Buffer.from([4, 0, 9]), Buffer.alloc(70_000)]) {
      writeFileSync(image, damaged)
      await expect(native.agent.exec(['id', '-u'])).rejects.toMatchObject({
        details: { agentCode: 'SPAWN_FAILED', errno: 22 },
      })
      expect((await native.agent.exec(['id', '-u'], { user: 'root' })).stdout.toString()).toBe('0\n')
    }
    rmSync(image)
    expect(await inGuest('id', '-u')).toBe('0\n')
  })

  test('a piece of a line that is too long is no entry', async () => {
    const group = readFileSync('/etc/group', 'latin1')
    writeFileSync(join(etc, 'group'), `${'x'.repeat(4096)}evil:x:42:daemon\n${group}good:x:43:daemon\n`)
    const groups = await native.agent.exec(['id', '-G'], { user: 'daemon' })
    expect(groups.stdout.toString()).toBe('1 43\n')
    writeFileSync(join(etc, 'group'), group)
  })

  test('a user who is nobody, or has too long a name, is refused', async () => {
    for (const user of [':root', 'root:', `0:${'0'.repeat(126)}7`])
      await expect(native.agent.exec(['true'], { user })).rejects.toMatchObject({
        details: { agentCode: 'NO_USER' },
      })
  })
})

describe.runIf(possible)('fix-up', () => {
  test('a FIFO in the place of a file stops nothing', async () => {
    const place = join(etc, 'machine-id')
    const text = readFileSync(place)
    rmSync(place)
    expect(spawnSync('mkfifo', [place]).status).toBe(0)
    await expect(native.agent.fixUp({ clock: false, machineId: true })).rejects.toMatchObject({
      details: { agentCode: 'STEP_FAILED', errno: 6 },
    })
    rmSync(place)
    writeFileSync(place, text)
  })

  test('a guest without a machine id, on a disk that is read-only, has none to change', async () => {
    const place = join(etc, 'machine-id')
    const text = readFileSync(place)
    const remount = (how: string) => inGuest('mount', '-o', `remount,bind,${how}`, '/etc')
    rmSync(place)
    await remount('ro')
    const { steps } = await native.agent.fixUp({ clock: false, machineId: true })
    expect(steps.map(({ name }) => name)).toContain('machine-id')
    await remount('rw')
    writeFileSync(place, text)
  })

  test('does all that it is asked for, in order, and says how long each took', async () => {
    const machineId = 'c0ffee00'.repeat(4)
    script('fixup.d/20-second', 'echo second; echo error >&2')
    script('fixup.d/10-first', 'echo first; hostname')
    script('fixup.d/30-not-executable', 'echo never', 0o644)
    const result = await native.agent.fixUp({
      clock: false,
      hostname: 'clone-7',
      machineId,
      addresses: [{ interface: 'lo', address: '172.16.7.2/30' }],
      routes: [
        { interface: 'lo', to: '0.0.0.0/0', via: '172.16.7.1' },
        { interface: 'lo', to: '10.1.0.0/16' },
      ],
    })
    expect(names(result.steps)).toEqual([
      ...['entropy', 'hostname', 'machine-id', 'address', 'route', 'route', '10-first', '20-second'],
    ])
    for (const { ms } of result.steps) expect(ms).toBeGreaterThanOrEqual(0)
    expect(result.clock).toBe(null)
    expect(result.output.stdout.toString()).toBe('first\nclone-7\nsecond\n')
    expect(result.output.stderr.toString()).toBe('error\n')
    expect(await inGuest('hostname')).toBe('clone-7\n')
    expect(hostname()).not.toBe('clone-7')
    expect(readFileSync(join(etc, 'machine-id'), 'utf8')).toBe(`${machineId}\n`)
    expect(await inGuest('ip', '-4', '-o', 'addr', 'show', 'dev', 'lo')).toContain('172.16.7.2/30')
    const routes = await inGuest('ip', 'route')
    expect(routes).toContain('default via 172.16.7.1 dev lo')
    expect(routes).toContain('10.1.0.0/16 dev lo')
  })

  test('can be done again: the old address and its routes go', async () => {
    const again = {
      clock: false,
      addresses: [{ interface: 'lo', address: '172.16.8.2/30' as const }],
      routes: [{ interface: 'lo', to: '0.0.0.0/0' as const, via: '172.16.8.1' }],
    }
    await native.agent.fixUp(again)
    await native.agent.fixUp(again)
    expect(await inGuest('ip', '-4', '-o', 'addr', 'show', 'dev', 'lo')).not.toContain('172.16.7.2')
    const routes = await inGuest('ip', 'route')
    expect(routes).toContain('default via 172.16.8.1')
    expect(routes).not.toContain('172.16.7')
  })

  test('without being asked it reseeds, and runs the scripts', async () => {
    rmSync(join(etc, 'varve/fixup.d'), { recursive: true })
    expect(names((await native.agent.fixUp({ clock: false })).steps)).toEqual(['entropy'])
    mkdirSync(join(etc, 'varve/fixup.d'))
    expect((await native.agent.fixUp({ clock: false, entropy: false, scriptsMs: false })).steps).toEqual([])
  })

  test('new machine ids differ', async () => {
    const next = async () => {
      await native.agent.fixUp({ clock: false, machineId: true })
      return readFileSync(join(etc, 'machine-id'), 'utf8')
    }
    const [first, second] = [await next(), await next()]
    expect(first).toMatch(/^[0-9a-f]{32}\n$/)
    expect(second).not.toBe(first)
  })

  test('a step that fails is named, and those behind it are not done', async () => {
    const before = await inGuest('hostname')
    const failing = native.agent.fixUp({
      clock: false,
      addresses: [{ interface: 'none0', address: '10.0.0.1/8' }],
    })
    await expect(failing).rejects.toMatchObject({
      code: 'GUEST_REFUSED',
      details: { agentCode: 'STEP_FAILED', errno: 19 },
      message: expect.stringContaining('address'),
    })
    script('fixup.d/50-fails', 'exit 9')
    await expect(native.agent.fixUp({ clock: false })).rejects.toMatchObject({
      details: { agentCode: 'STEP_FAILED' },
      message: expect.stringContaining('50-fails: exit status 9'),
    })
    rmSync(join(etc, 'varve/fixup.d/50-fails'))
    expect(await inGuest('hostname')).toBe(before)
  })

  test('scripts that take too long are killed', async () => {
    script('fixup.d/60-slow', 'sleep 98781')
    await expect(native.agent.fixUp({ clock: false, scriptsMs: 300 })).rejects.toMatchObject({
      code: 'TIMEOUT',
    })
    rmSync(join(etc, 'varve/fixup.d/60-slow'))
    const runs = () => spawnSync('pgrep', ['-f', 'sleep 98781']).status === 0
    for (let tries = 0; runs() && tries < 100; tries++) await sleep(20)
    expect(runs()).toBe(false)
  })

  test('refuses what a guest would not take', async () => {
    const wrong: object[] = [
      { hostname: 'a b' },
      { machineId: 'abc' },
      { entropy: Buffer.alloc(16) },
      { entropy: Buffer.alloc(513) },
      { addresses: [{ interface: 'eth0', address: '10.0.0.1' }] },
      { addresses: [{ interface: 'eth0', address: '10.0.0.1/33' }] },
      { addresses: [{ interface: 'a/b', address: '10.0.0.1/8' }] },
      { routes: [{ interface: 'eth0', to: '10.0.0.0/8', via: 'x' }] },
    ]
    for (const it of wrong)
      await expect(native.agent.fixUp({ clock: false, ...it })).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
      })
  })
})

describe.runIf(possible)('hooks', () => {
  test('a hook is a program, or a folder of programs, or nothing', async () => {
    script('hooks.d/run', 'echo ran')
    mkdirSync(join(etc, 'varve/hooks.d/resume'))
    script('hooks.d/resume/b', 'echo b')
    script('hooks.d/resume/a', 'echo a')
    const run = await native.agent.hook('run')
    expect([names(run.steps), run.stdout.toString()]).toEqual([['run'], 'ran\n'])
    const resume = await native.agent.hook('resume')
    expect([names(resume.steps), resume.stdout.toString()]).toEqual([['a', 'b'], 'a\nb\n'])
    expect((await native.agent.hook('suspend')).steps).toEqual([])
  })

  test('a hook that fails, or takes too long, says so', async () => {
    script('hooks.d/terminate', 'kill -9 $$')
    await expect(native.agent.hook('terminate')).rejects.toMatchObject({
      details: { agentCode: 'STEP_FAILED' },
      message: expect.stringContaining('terminate: signal 9'),
    })
    script('hooks.d/suspend', 'sleep 98782')
    await expect(native.agent.hook('suspend', { timeoutMs: 1000 })).rejects.toMatchObject({ code: 'TIMEOUT' })
    await expect(native.agent.hook('suspend', { timeoutMs: 999 })).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
    })
  })
})

describe.runIf(possible)('/etc/varve/image', () => {
  test('has the environment, folder and user of commands that do not say them', async () => {
    const { encodeFields } = await import('./fields.js')
    const { tag } = await import('./bounds.js')
    const image = encodeFields([
      [tag.env, 'PATH=/usr/bin:/bin'],
      [tag.env, 'LANG=C.UTF-8'],
      [tag.cwd, '/tmp'],
      [tag.user, 'daemon'],
    ])
    writeFileSync(join(etc, 'varve/image'), image)
    expect(await inGuest('sh', '-c', 'echo $PATH $LANG; pwd; id -un')).toBe(
      '/usr/bin:/bin C.UTF-8\n/tmp\ndaemon\n',
    )
    const own = await native.agent.exec(['sh', '-c', 'echo $LANG; pwd; id -un'], {
      env: { LANG: 'C' },
      cwd: '/usr',
      user: 'root',
    })
    expect(own.stdout.toString()).toBe('C\n/usr\nroot\n')
    rmSync(join(etc, 'varve/image'))
  })
})
