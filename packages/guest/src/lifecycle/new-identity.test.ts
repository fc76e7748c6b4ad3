import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { RunningMachine } from 'varve'
import { expect, test } from 'vitest'
import { nativeAgent } from '../agent/agent-fixture.js'
import { newIdentity } from './new-identity.js'

// In a namespace of its own, so that it renames no host. What else a fix-up does is in fix-up.test.ts.
const around = ['unshare', '--uts', '--fork', '--kill-child']

test('a guest gets the name of its machine, or of its clone, and says what it was told', async () => {
  await using native = await nativeAgent(around)
  // All that it needs of a machine.
  const machine = { id: 'web-x', ...native.address, vsockPath: null } as unknown as RunningMachine
  const only = { clock: false, machineId: undefined as never, scriptsMs: false } as const
  const hostname = async () => (await native.agent.exec(['uname', '-n'])).stdout.toString().trim()

  const steps = await newIdentity(only)(machine, { clone: null })
  expect(steps.map(({ name }) => name)).toEqual(['entropy', 'hostname'])
  for (const { ms } of steps) expect(ms).toBeGreaterThanOrEqual(0)
  expect(await hostname()).toBe('web-x')

  await newIdentity({ ...only, hostname: 'api' })(machine, { clone: 3 })
  expect(await hostname()).toBe('api-3')

  await newIdentity(({ id }, clone) => ({ ...only, hostname: `${id}.${clone}` }))(machine, { clone: 2 })
  expect(await hostname()).toBe('web-x.2')
  expect(execFileSync('uname', ['-n'])).not.toContain('web-x')
  expect(readFileSync('/proc/sys/kernel/hostname', 'utf8')).not.toContain('api')
})
