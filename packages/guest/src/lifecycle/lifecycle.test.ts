import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type PausedMachine, type RunningMachine, VarveError } from 'varve'
import { abortError } from 'varve/testing'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type ScriptedAgent, scriptedAgent } from '../agent/scripted-agent.js'
import { greetGuest } from './greet-guest.js'
import { guestOf } from './guest.js'
import { sameIdentity } from './new-identity.js'
import { pauseGuest, resumeGuest } from './pause-guest.js'
import { stopGuest } from './stop-guest.js'
import { whileSuspended } from './while-suspended.js'

let directory: string
let agent: ScriptedAgent
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'varve-lifecycle-'))
  agent = await scriptedAgent(join(directory, 'v.sock'))
})
afterEach(async () => {
  await agent[Symbol.asyncDispose]()
  rmSync(directory, { recursive: true })
})

/** Of a machine, what these verbs need. What it does is noted between what its guest is told. */
function machineOf(more: object = {}): RunningMachine & PausedMachine {
  let state = 'Running'
  const turn = (what: string, to: string) => async () => {
    agent.told.push(what)
    state = to
    return machine
  }
  const machine = {
    id: 'web',
    vsockPath: join(directory, 'v.sock'),
    guestAgent: { port: 1024 },
    pausedSinceLoad: false,
    detached: false,
    info: async () => ({ state }),
    pause: turn('(pause)', 'Paused'),
    resume: turn('(resume)', 'Running'),
    stop: turn('(stop)', 'Ended'),
    ...more,
  }
  return machine as never
}

test('a guest is told before it is paused, and after it is resumed', async () => {
  agent.hooks.suspend = ['suspend']
  const paused = await pauseGuest(machineOf())
  const resumed = await resumeGuest(paused.machine)
  expect(agent.told).toEqual(['hook suspend', '(pause)', '(resume)', 'hook resume'])
  expect(paused.hooks).toEqual([
    { hook: 'suspend', ms: expect.any(Number), programs: [{ name: 'suspend', ms: 0.25 }], error: null },
  ])
  expect([resumed.hooks[0]?.programs, resumed.told]).toEqual([[], null])
})

test('a hook that fails or hangs keeps no guest from being paused or stopped, and says why', async () => {
  agent.hooks.suspend = 'fails'
  agent.hooks.terminate = 'hangs'
  const paused = await pauseGuest(machineOf())
  expect(paused.hooks[0]?.error).toMatchObject({
    code: 'GUEST_REFUSED',
    message: expect.stringContaining('hook suspend'),
  })
  const { hooks } = await stopGuest(machineOf(), { hookMs: 1000 })
  expect(hooks[0]).toMatchObject({ hook: 'terminate', error: { code: 'TIMEOUT' } })
  expect(agent.told.filter((it) => it.startsWith('('))).toEqual(['(pause)', '(stop)'])
})

test('a guest without agent, a guest that does not run, and one without hooks asked for, are told nothing', async () => {
  const info = async () => {
    throw new VarveError('MACHINE_EXITED', 'it has ended')
  }
  await pauseGuest(machineOf({ guestAgent: null, info }))
  await stopGuest(machineOf({ info }))
  await stopGuest(machineOf({ info: async () => ({ state: 'Paused' }) }))
  await pauseGuest(machineOf(), { hookMs: false })
  expect(agent.told).toEqual(['(pause)', '(stop)', '(stop)', '(pause)'])
})

test('a limit that no hook has is refused, and nothing is done', async () => {
  await expect(pauseGuest(machineOf(), { hookMs: 60_001 })).rejects.toMatchObject({
    code: 'INVALID_ARGUMENT',
  })
  expect(agent.told).toEqual([])
})

test('an aborted signal ends the wait for a hook, and the machine stays', async () => {
  agent.hooks.terminate = 'hangs'
  const signal = AbortSignal.timeout(100)
  await expect(stopGuest(machineOf(), { signal })).rejects.toMatchObject({ code: 'TIMEOUT' })
  expect(agent.told).toEqual(['hook terminate'])
})

test('a guest whose pause is interrupted during its hook hears that it goes on', async () => {
  agent.hooks.suspend = 'hangs'
  const signal = AbortSignal.timeout(100)
  await expect(pauseGuest(machineOf(), { signal })).rejects.toMatchObject({ code: 'TIMEOUT' })
  expect(agent.told).toEqual(['hook suspend', 'hook resume'])
})

/** A VMM that is stopped by SIGSTOP, or hangs. */
const noAnswer = ({ signal }: { signal?: AbortSignal } = {}) =>
  new Promise((_, reject) => {
    signal?.addEventListener('abort', () => reject(abortError(signal, 'GET /')))
  })

test('a VMM that does not answer keeps its machine from being stopped for some seconds only', async () => {
  const { hooks } = await stopGuest(machineOf({ info: noAnswer }))
  expect(hooks).toMatchObject([{ hook: 'terminate', programs: [], error: { code: 'TIMEOUT' } }])
  expect(agent.told).toEqual(['(stop)'])
})

test('an aborted signal ends the wait for a VMM that does not answer', async () => {
  const stopped = stopGuest(machineOf({ info: noAnswer }), { signal: AbortSignal.timeout(50) })
  await expect(stopped).rejects.toMatchObject({ code: 'TIMEOUT' })
  expect(agent.told).toEqual([])
})

test('the guest hears that it goes on when the work says so, and also if the work fails', async () => {
  const { value, hooks } = await whileSuspended(machineOf(), {}, async (runsAgain) => {
    agent.told.push('taken')
    runsAgain()
    await expect.poll(() => agent.told.at(-1)).toBe('hook resume')
    agent.told.push('sealed')
    return 7
  })
  expect(agent.told).toEqual(['hook suspend', 'taken', 'hook resume', 'sealed'])
  expect([value, hooks.map(({ hook }) => hook)]).toEqual([7, ['suspend', 'resume']])
  agent.told.length = 0
  const failing = whileSuspended(machineOf(), {}, async () => {
    throw new VarveError('WRITE_FAILED', 'no room')
  })
  await expect(failing).rejects.toMatchObject({ code: 'WRITE_FAILED' })
  expect(agent.told).toEqual(['hook suspend', 'hook resume'])
})

test('a guest that was restored paused becomes one of its own when it is resumed', async () => {
  agent.hooks.run = ['b', 'run']
  const { told, hooks } = await resumeGuest(machineOf({ pausedSinceLoad: true }))
  expect(agent.told).toEqual([
    '(resume)',
    ...['fix-up clock entropy hostname=web machineId scripts', 'hook run'],
  ])
  expect(told?.map(({ name }) => name).slice(-2)).toEqual(['run/b', 'run'])
  expect(hooks).toEqual([])
  agent.told.length = 0
  await resumeGuest(machineOf({ pausedSinceLoad: true }), { identity: 'same' })
  expect(agent.told).toEqual(['(resume)', 'fix-up clock entropy scripts', 'hook resume'])
})

test('if it cannot be told, it does not go on as another one', async () => {
  agent.hooks.run = 'fails'
  const resumed = resumeGuest(machineOf({ pausedSinceLoad: true }))
  await expect(resumed).rejects.toMatchObject({ code: 'GUEST_REFUSED' })
  expect(agent.told.at(-1)).toBe('(stop)')
})

test('what cannot be told is refused before the machine is resumed', async () => {
  const refused = { code: 'INVALID_ARGUMENT' }
  const addresses = [{ interface: 'eth0', address: '10.0.0.1/99' }] as const
  for (const wrong of [{ fixUp: { hostname: 'bad_name' } }, { fixUp: { addresses } }, { hookMs: 60_001 }])
    for (const pausedSinceLoad of [true, false])
      await expect(resumeGuest(machineOf({ pausedSinceLoad }), wrong)).rejects.toMatchObject(refused)
  expect(agent.told).toEqual([])
})

test('if its caller interrupts what it is told, the machine stays, and the error says so', async () => {
  agent.hooks.run = 'hangs'
  const interrupt = new AbortController()
  const resumed = resumeGuest(machineOf({ pausedSinceLoad: true }), { signal: interrupt.signal })
  resumed.catch(() => {})
  await expect.poll(() => agent.told.at(-1)).toBe('hook run')
  interrupt.abort()
  await expect(resumed).rejects.toMatchObject({
    code: 'INTERRUPTED',
    message: expect.stringMatching(/^web runs, but .* not told/),
  })
  expect(agent.told).not.toContain('(stop)')
})

test('a booted guest counts as ready when its hook has run', async () => {
  const { told } = await greetGuest(machineOf())
  expect([agent.told, told]).toEqual([['ping', 'hook run'], []])
  agent.hooks.run = 'fails'
  await expect(greetGuest(machineOf())).rejects.toMatchObject({ code: 'GUEST_REFUSED' })
  expect(agent.told.at(-1)).toBe('(stop)')
})

test('the end of a block ends a guest, unless it was detached', async () => {
  await guestOf(machineOf(), [])[Symbol.asyncDispose]()
  await guestOf(machineOf({ detached: true }), [])[Symbol.asyncDispose]()
  expect(agent.told).toEqual(['hook terminate', '(stop)'])
})

test('without hooks, an identity is only told', async () => {
  const steps = await sameIdentity({ hostname: 'api' }, { hookMs: false })(machineOf(), { clone: 2 })
  expect(agent.told).toEqual(['fix-up clock entropy hostname=api-2 scripts'])
  expect(steps.map(({ name }) => name)).toEqual(['clock', 'entropy', 'hostname', 'scripts'])
})
