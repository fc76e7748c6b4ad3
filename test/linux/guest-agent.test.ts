import { fileURLToPath } from 'node:url'
import { openNestedLab } from '@varve/lab'
import { expect, test } from 'vitest'

/** Fetching packages and building images, when nothing is cached. */
const openTimeoutMs = 600_000
const runTimeoutMs = 600_000

interface AgentResult {
  readonly ping: unknown
  readonly work: unknown
  readonly source: unknown
  readonly clones: readonly {
    readonly steps: readonly { readonly name: string; readonly ms: number }[]
    readonly clock: { readonly beforeMs: number; readonly afterMs: number; readonly uncertaintyMs: number }
    readonly said: readonly string[]
    readonly hostname: string
    readonly machineId: string
    readonly random: string
    readonly left: string
    readonly fixedAt: number
    readonly file: boolean
    readonly network: unknown
    readonly answers: boolean
  }[]
  readonly told: unknown
  readonly agent: { readonly rssKib: number; readonly usedByPingKib: number }
  readonly machinesLeft: number
}

/** The one address and all routes of a guest that was told that it is in 10.N.0.0/24. */
const networkOf = (n: number) => ({
  addresses: `10.${n}.0.2/24`,
  routes: [
    `10.${n}.0.0/24 dev eth0 scope link  src 10.${n}.0.2`,
    '192.168.7.0/24 dev eth0 scope link',
    `default via 10.${n}.0.1 dev eth0`,
  ].join('\n'),
})

test(
  'the agent as init of a Linux guest: commands, files, a network, a capture with a call in flight, and clones that are told who and where they are',
  async () => {
    await using lab = await openNestedLab()
    const { exitCode, stderr, stdout, result } = await lab.run({
      script: fileURLToPath(new URL('../nested-lab/linux-guest-agent.mjs', import.meta.url)),
      timeoutMs: runTimeoutMs,
    })
    console.log(stdout)
    expect({ exitCode, stderr }, stdout).toEqual({ exitCode: 0, stderr: '' })
    const { ping, work, source, clones, told, agent, machinesLeft } = result as AgentResult
    expect(ping).toMatchObject({ agent: '1', pid: 1 })
    expect(work).toMatchObject({
      uname: 'Linux',
      cpus: '0-3',
      status: 9,
      echoed: 'in and out',
      same: true,
      typed: expect.stringMatching(/^40 100\r\n\/dev\/pts\/\d+\r\n$/),
      mounts: expect.arrayContaining([
        '/proc proc',
        '/sys sysfs',
        '/dev devtmpfs',
        '/dev/pts devpts',
        '/tmp tmpfs',
      ]),
      root: 'refused',
      hook: ['suspend'],
      many: Array.from({ length: 20 }, (_, n) => n).join(),
      zombies: '0',
      steps: ['clock', 'entropy', 'machine-id', 'address', 'route', 'route'],
      ...networkOf(1),
      answers: true,
    })
    expect(source).toEqual({ before: '1', inFlight: 'GUEST_LOST', after: 'well', left: '0' })
    expect(clones.map(({ hostname }) => hostname)).toEqual(['clone-a', 'clone-b'])
    for (const [index, clone] of clones.entries()) {
      const { steps, clock, said, hostname, machineId, left, file, fixedAt, network, answers } = clone
      expect(steps.map(({ name }) => name)).toEqual([
        ...['clock', 'entropy', 'hostname', 'machine-id', 'address', 'route', 'route'],
        ...['10-name', '20-again'],
      ])
      // Scripts come last: the guest has its name and its address then.
      expect(said).toEqual([`I am ${hostname} at 1 address\n`, 'again\n'])
      expect(Math.abs(clock.afterMs)).toBeLessThanOrEqual(5)
      expect(machineId).toMatch(/^[0-9a-f]{32}$/)
      expect({ left, file }).toEqual({ left: '0', file: true })
      // `date` has whole seconds, and its answer takes one, emulated.
      expect(Math.abs(fixedAt)).toBeLessThan(5_000)
      // Nothing is left of the network of the snapshot.
      expect({ network, answers }).toEqual({ network: networkOf(2 + index), answers: true })
    }
    expect(clones[1]?.clock.beforeMs).toBeLessThan(-20 * 365 * 86_400_000)
    expect(new Set(clones.map(({ machineId }) => machineId)).size).toBe(2)
    expect(new Set(clones.map(({ random }) => random)).size).toBe(2)
    expect(told).toEqual({
      steps: ['clock', 'entropy', 'hostname', 'machine-id', '10-name', '20-again', 'run'],
      hostname: 'told',
      // The first by hand, before the capture.
      hooks: ['suspend', 'run', 'suspend', 'resume', 'suspend', 'resume'],
      last: [['terminate', 1, null]],
    })
    expect(agent.rssKib).toBeLessThanOrEqual(300)
    expect(agent.usedByPingKib).toBeLessThanOrEqual(60 * 4)
    expect(machinesLeft).toBe(0)
  },
  openTimeoutMs + runTimeoutMs,
)
