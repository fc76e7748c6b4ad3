import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { mustRun, type NativeAgent, nativeAgent } from './agent-fixture.js'
import { tag } from './bounds.js'
import { encodeFields } from './fields.js'

/**
 * The agent as process 1 of namespaces of its own, with a folder of ours as its /etc. Its sockets and ours
 * are in /var/tmp, because it mounts a new /tmp.
 */
const unshare = [
  ...['unshare', '--pid', '--fork', '--kill-child', '--mount', '--propagation', 'private', '--uts', '--net'],
]
const possible = mustRun(unshare)
let native: NativeAgent
let etc: string
let startedEarly: boolean | undefined

beforeAll(async () => {
  if (!possible) return
  etc = mkdtempSync('/var/tmp/varve-etc-')
  for (const name of ['passwd', 'group']) copyFileSync(`/etc/${name}`, join(etc, name))
  mkdirSync(join(etc, 'varve'))
  const image = encodeFields([
    [tag.arg, 'sh'],
    [tag.arg, '-c'],
    [tag.arg, 'echo "$GREETING from $(pwd) as $$" >/etc/entry; sleep 98791 & exit 0'],
    [tag.env, 'GREETING=hello'],
    [tag.cwd, '/usr'],
  ])
  // A FIFO holds the agent up where it reads which program the image has, until this side opens it, too.
  const place = join(etc, 'varve/image')
  execFileSync('mkfifo', [place])
  const around = [...unshare, 'sh', '-c', 'mount --bind "$0" /etc && exec "$@"', etc]
  native = await nativeAgent(around, { flags: ['--init'], parent: '/var/tmp' })
  const early = connect(native.address.path)
  await once(early, 'connect')
  early.destroy()
  await sleep(200)
  startedEarly = existsSync(join(etc, 'entry'))
  const fifo = openSync(place, 'w')
  writeFileSync(`${place}.new`, image)
  renameSync(`${place}.new`, place)
  writeSync(fifo, image)
  closeSync(fifo)
})
afterAll(async () => {
  if (!possible) return
  await native[Symbol.asyncDispose]()
  rmSync(etc, { recursive: true })
})

const sh = async (script: string) =>
  (await native.agent.exec(['sh', '-c', script], { cwd: '/' })).stdout.toString()

describe.runIf(possible)('the agent as init', () => {
  test('is process 1, with the file systems that programs expect', async () => {
    expect(await native.agent.ping()).toMatchObject({ pid: 1 })
    const mounts = await sh('cut -d " " -f 2,3 /proc/mounts')
    for (const it of [
      '/proc proc',
      '/sys sysfs',
      '/dev devtmpfs',
      '/dev/pts devpts',
      '/dev/shm tmpfs',
      '/tmp tmpfs',
    ])
      expect(mounts).toContain(it)
    expect(await sh('ls -d /proc/[0-9]* | wc -l')).not.toBe('0\n')
    expect(await sh('ip -o link show lo')).toContain('UP')
  })

  test('listens before it starts any program', () => {
    // The fixture has connected while the agent had not read yet which program that is.
    expect(startedEarly).toBe(false)
  })

  test('has started the image’s program, as the image says', async () => {
    for (let tries = 0; !existsSync(join(etc, 'entry')) && tries < 100; tries++) await sleep(20)
    await sleep(50)
    expect(readFileSync(join(etc, 'entry'), 'utf8')).toMatch(/^hello from \/usr as \d+\n$/)
  })

  test('reaps processes whose parents have ended', async () => {
    await sh('setsid sh -c "sleep 0.1 & exit 0"; setsid sh -c "(sleep 0.2 &) ; exit 0"; sleep 0.5')
    expect(await sh('grep -l "^State:.Z" /proc/[0-9]*/status 2>/dev/null | wc -l')).toBe('0\n')
    // What the image's program left behind runs on.
    expect(await sh('grep -l "9879[1]" /proc/[0-9]*/cmdline 2>/dev/null | wc -l')).toBe('1\n')
  })

  test('a terminal works without the image’s help', async () => {
    await using command = await native.agent.start(['tty'], { tty: { rows: 24, columns: 80 } })
    let text = ''
    for await (const chunk of command.stdout) text += chunk.toString()
    expect(text).toMatch(/^\/dev\/pts\/\d+\r\n$/)
  })

  test('SIGTERM ends everything, and restarts', async () => {
    const call = native.agent.exec(['sleep', '98792'])
    call.catch(() => {})
    await sleep(100)
    await native.agent.exec(['kill', '-TERM', '1']).catch(() => {})
    await native.ended
    await expect(call).rejects.toMatchObject({ code: expect.stringMatching(/^GUEST_/) })
    expect(spawnSync('pgrep', ['-f', 'sleep 9879[12]']).status).toBe(1)
  })
})
