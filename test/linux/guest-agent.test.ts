import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { openNestedLab } from '@varve/lab'
import { expect, test } from 'vitest'
import { agentInitrd } from '../support/agent-initrd.js'

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
    readonly hostname: string
    readonly machineId: string
    readonly random: string
    readonly left: string
    readonly fixedAt: number
    readonly file: boolean
  }[]
  readonly told: unknown
  readonly agent: { readonly rssKib: number; readonly usedByPingKib: number }
  readonly python: { readonly rssKib: number }
  readonly machinesLeft: number
}

/** The root disk of the lab is read-only; /etc is a folder in memory, which fix-ups change. */
const prepare = `/bin/busybox mount -t tmpfs tmpfs /root/etc
echo 'root:x:0:0::/root:/bin/sh' >/root/etc/passwd
/bin/busybox mkdir -p /root/etc/varve/hooks.d
for it in run resume suspend terminate; do
  /bin/busybox printf '#!/bin/sh\\necho %s >>/run/hooks\\n' $it >/root/etc/varve/hooks.d/$it
  /bin/busybox chmod 755 /root/etc/varve/hooks.d/$it
done`

test(
  'the agent as init of a Linux guest: commands, files, a capture with a call in flight, and clones that are told who they are',
  async () => {
    const directory = mkdtempSync(join(tmpdir(), 'varve-agent-guest-'))
    try {
      await using lab = await openNestedLab()
      const { exitCode, stderr, stdout, result } = await lab.run({
        script: fileURLToPath(new URL('../nested-lab/linux-guest-agent.mjs', import.meta.url)),
        files: { 'initramfs.cpio': await agentInitrd(directory, prepare) },
        timeoutMs: runTimeoutMs,
      })
      expect({ exitCode, stderr }, stdout).toEqual({ exitCode: 0, stderr: '' })
      const { ping, work, source, clones, told, agent, python, machinesLeft } = result as AgentResult
      expect(ping).toMatchObject({ agent: '1', pid: 1 })
      expect(work).toMatchObject({
        uname: 'Linux',
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
        hook: ['suspend'],
        many: Array.from({ length: 20 }, (_, n) => n).join(),
        zombies: '0',
      })
      expect(source).toEqual({ before: '1', inFlight: 'GUEST_LOST', after: 'well', left: '0' })
      expect(clones.map(({ hostname }) => hostname)).toEqual(['clone-a', 'clone-b'])
      for (const { steps, clock, machineId, left, file, fixedAt } of clones) {
        expect(steps.map(({ name }) => name)).toEqual(['clock', 'entropy', 'hostname', 'machine-id'])
        expect(Math.abs(clock.afterMs)).toBeLessThanOrEqual(5)
        expect(machineId).toMatch(/^[0-9a-f]{32}$/)
        expect({ left, file }).toEqual({ left: '0', file: true })
        // `date` has whole seconds, and its answer takes one, emulated.
        expect(Math.abs(fixedAt)).toBeLessThan(5_000)
      }
      expect(clones[1]?.clock.beforeMs).toBeLessThan(-20 * 365 * 86_400_000)
      expect(new Set(clones.map(({ machineId }) => machineId)).size).toBe(2)
      expect(new Set(clones.map(({ random }) => random)).size).toBe(2)
      expect(told).toEqual({
        steps: ['clock', 'entropy', 'hostname', 'machine-id', 'run'],
        hostname: 'told',
        // The first by hand, before the capture.
        hooks: ['suspend', 'run', 'suspend', 'resume', 'suspend', 'resume'],
        last: [['terminate', 1, null]],
      })
      expect(agent.rssKib).toBeLessThanOrEqual(300)
      expect(agent.usedByPingKib).toBeLessThanOrEqual(60 * 4)
      expect(python.rssKib).toBeGreaterThan(agent.rssKib)
      expect(machinesLeft).toBe(0)
    } finally {
      rmSync(directory, { recursive: true })
    }
  },
  openTimeoutMs + runTimeoutMs,
)
