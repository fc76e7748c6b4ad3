import { existsSync, readdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { cloneGuests, restoreGuest } from '@varve/guest'
import { type ScriptedAgent, scriptedAgent } from '@varve/guest/testing'
import { connectMachine, restoreMachine } from 'varve'
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { commandsIn, startVarve, varve } from '../support/cli.js'
import { microWorldOfFile } from '../support/micro-world.js'

/**
 * The micro guest has no agent: one that notes what it is asked answers in its place, on the vsock socket of
 * its machine.
 */

const world = microWorldOfFile()
const { right, json, refused } = commandsIn(() => world)
const agents: ScriptedAgent[] = []
const declared = ['--memory', '32', '--vsock-cid', '3', '--guest-agent', '--no-hooks']

const own = (name: string) => `fix-up clock entropy hostname=${name} machineId scripts`

async function agentOf(name: string): Promise<ScriptedAgent> {
  const socket = join(world.runtimeDirectory, 'machines', name, 'vsock.sock')
  while (!existsSync(socket)) await sleep(2)
  const own = world.path(`agent-${agents.length}`)
  const agent = await scriptedAgent(own)
  agents.push(agent)
  renameSync(own, socket)
  return agent
}

async function newMachine(): Promise<string> {
  for (;;) {
    const name = readdirSync(join(world.runtimeDirectory, 'machines')).find((it) => it.startsWith('vm-'))
    if (name !== undefined) return name
    await sleep(2)
  }
}

beforeAll(async () => {
  await right('boot', '--kernel', 'micro.elf', '--name', 'web', ...declared)
  await right('snapshot', 'create', 'web', '--tag', 'warm', '--no-hooks')
  await right('boot', '--kernel', 'micro.elf', '--memory', '32', '--name', 'plain')
  await right('snapshot', 'create', 'plain', '--tag', 'plain')
})
afterEach(async () => {
  for (const agent of agents.splice(0)) await agent[Symbol.asyncDispose]()
})
afterAll(async () => {
  await varve(world, 'stop', '--all', '--no-hooks')
})

test('a machine of a root disk with the agent is booted when its agent has answered', async () => {
  const booting = json('boot', '--kernel', 'micro.elf', '--name', 'disk', ...declared.slice(0, -1))
  const agent = await agentOf('disk')
  agent.hooks.run = ['first']
  expect((await booting).fixUp).toEqual([{ name: 'run/first', ms: 0.25 }])
  await right('stop', 'disk')
  expect(agent.told).toEqual(['ping', 'hook run', 'hook terminate'])
})

test('a machine and its snapshots keep that the guest has the agent', async () => {
  expect((await json('snapshot', 'show', 'warm')).guestAgent).toEqual({ port: 1024 })
  expect((await json('snapshot', 'show', 'plain')).guestAgent).toBeUndefined()
  await right('restore', 'warm', '--name', 'kept', '--no-fix-up')
  await right('snapshot', 'create', 'kept', '--tag', 'child', '--no-hooks')
  expect((await json('snapshot', 'show', 'child')).guestAgent).toEqual({ port: 1024 })
  await right('stop', 'kept', '--no-hooks')
})

test('a restore makes a guest one of its own, also under the name of the one that was captured', async () => {
  await right('stop', 'web', '--no-hooks')
  const restoring = startVarve(world, 'restore', 'warm', '--name', 'web', '--json').result
  const agent = await agentOf('web')
  const { status, stderr, json: document } = await restoring
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  expect(agent.told).toEqual([own('web'), 'hook run'])
  expect(document().fixUp.map(({ name }: { name: string }) => name)).toContain('machineId')
})

test('pause, resume, capture and stop run the hooks of a guest, and report them', async () => {
  const agent = await agentOf('web')
  agent.hooks.suspend = ['suspend']
  expect((await json('pause', 'web')).hooks).toEqual([
    {
      machine: 'web',
      hook: 'suspend',
      ms: expect.any(Number),
      programs: [{ name: 'suspend', ms: 0.25 }],
      error: null,
    },
  ])
  expect((await json('resume', 'web')).hooks).toMatchObject([{ hook: 'resume', error: null }])
  expect((await json('snapshot', 'create', 'web', '--tag', 'next')).hooks).toMatchObject([
    { hook: 'suspend' },
    { hook: 'resume' },
  ])
  await right('snapshot', 'create', 'web', '--tag', 'held', '--keep-paused')
  await right('resume', 'web', '--no-hooks')
  const watched = await json('snapshot', 'watch', 'web', '--every', '1s', '--count', '1')
  expect(watched.hooks).toMatchObject([{ hook: 'suspend' }, { hook: 'resume' }])
  const copied = agentOf('copy-1')
  const cloned = await json('clone', 'web', '--live', '-n', '1', '--name', 'copy')
  expect(cloned.hooks).toMatchObject([{ hook: 'suspend' }, { hook: 'resume' }])
  const copy = await copied
  expect(copy.told).toEqual([own('copy-1'), 'hook run'])
  await copy[Symbol.asyncDispose]()
  agent.hooks.terminate = 'fails'
  const stopped = await right('stop', 'web', 'copy-1', '--json', '--hook-timeout', '1')
  expect(stopped.json().hooks[0]).toMatchObject({ hook: 'terminate', error: { code: 'GUEST_REFUSED' } })
  expect(stopped.stderr).toContain('web: its hook terminate failed')
  // The agent of the copy answers no more: it is stopped all the same, after some seconds.
  expect(stopped.json().hooks[1]).toMatchObject({ machine: 'copy-1', error: { code: 'TIMEOUT' } })
  const turns = ['hook suspend', 'hook resume']
  expect(agent.told).toEqual([...turns, ...turns, 'hook suspend', ...turns, ...turns, 'hook terminate'])
})

test('a guest that was restored paused is told when it is first resumed', async () => {
  await right('restore', 'warm', '--name', 'later', '--paused')
  const agent = await agentOf('later')
  const { fixedUp, hooks } = await json('resume', 'later', '--hostname', 'api')
  expect(agent.told).toEqual([own('api'), 'hook run'])
  expect([fixedUp.later.length, hooks]).toEqual([5, []])
  await right('pause', 'later', '--no-hooks')
  await right('resume', 'later')
  expect(agent.told.slice(2)).toEqual(['hook resume'])
  await right('stop', 'later')
})

test('varve run runs the first hook, the command and the last hook', async () => {
  const running = json('run', 'warm', '--snapshot', '--', 'true')
  // It has a random name.
  const name = await newMachine()
  const { told } = await agentOf(name)
  const { exitCode, hooks, fixUp } = await running
  expect(told).toEqual([own(name), 'hook run', 'exec true', 'hook terminate'])
  expect([exitCode, fixUp.length]).toEqual([0, 5])
  expect(hooks).toMatchObject([{ machine: name, hook: 'terminate', error: null }])
})

test('restoreGuest and cloneGuests; core tells a guest nothing', async () => {
  const place = { ...world.launch, engine: 'file' } as const
  const agent = agentOf('same')
  {
    await using guest = await restoreGuest(world.store, 'warm', { ...place, name: 'same', identity: 'same' })
    expect(guest.told.map(({ name }) => name)).toEqual(['clock', 'entropy', 'scripts'])
    expect((await connectMachine('same', world.launch)).guestAgent).toEqual({ port: 1024 })
  }
  expect((await agent).told).toEqual(['fix-up clock entropy scripts', 'hook resume', 'hook terminate'])
  const both = Promise.all([agentOf('few-1'), agentOf('few-2')])
  {
    await using guests = await cloneGuests(world.store, 'warm', 2, { ...place, name: 'few' })
    expect([guests.length, guests.failed]).toEqual([2, []])
  }
  const lives = ['hook run', 'hook terminate']
  expect((await both).map(({ told }) => told)).toEqual([
    [own('few-1'), ...lives],
    [own('few-2'), ...lives],
  ])
  await using plain = await restoreMachine(world.store, 'warm', place)
  expect([plain.report.fixUp, plain.machine.pausedSinceLoad]).toEqual([null, false])
})

test('a snapshot of a guest without agent is restored as before, and contradictions are refused', async () => {
  const { fixUp } = await json('restore', 'plain', '--name', 'silent')
  expect(fixUp).toBeNull()
  expect(await json('stop', 'silent')).toEqual({ stopped: ['silent'], hooks: [] })
  await refused(2, 'USAGE', 'restore', 'warm', '--no-fix-up', '--hostname', 'x')
  await refused(2, 'USAGE', 'pause', 'plain', '--hook-timeout', '61')
  await refused(2, 'INVALID_ARGUMENT', 'boot', '--kernel', 'micro.elf', '--guest-agent')
})
