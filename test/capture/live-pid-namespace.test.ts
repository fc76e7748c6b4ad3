import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bootMicroGuest, type MicroConsole } from '@varve/lab'
import { MicroVm, type Written } from '@varve/lab/testing'
import { captureSnapshot, connectMachine, type RunningMachine, takeSnapshot } from 'varve'
import { processIdentity } from 'varve/testing'
import { expect, test } from 'vitest'
import { frozenOf, processes, untilTrue } from '../support/frozen-processes.js'
import { microWorldOfFile } from '../support/micro-world.js'

/**
 * A VMM that is the first process of a PID namespace, as the jailer's `--new-pid-ns` makes it: what loses its
 * parent there becomes a child of the VMM.
 */

const world = microWorldOfFile()
const place = () => ({ ...world.launch, store: world.store })
const written: Written = { pattern: { start: 1024, count: 1500, stride: 2 }, seed: 1 }

interface Guest extends AsyncDisposable {
  readonly machine: RunningMachine
  readonly console: MicroConsole
}

/** The process that Varve starts waits for the VMM, so the record is changed to name the VMM itself. */
async function bootInNamespace(): Promise<Guest> {
  const path = world.path('firecracker-in-namespace')
  writeFileSync(path, `#!/bin/sh\nexec unshare --pid --fork --kill-child ${world.binary.path} "$@"\n`)
  chmodSync(path, 0o700)
  const binary = { ...world.binary, path }
  const guest = await bootMicroGuest({ ...world.launch, binary, memoryMib: 32 })
  const { id, paths, pid } = guest.machine
  const [vmm, ...others] = processes().filter(({ parent }) => parent === pid)
  expect(others).toEqual([])
  const record = join(paths.directory, 'machine.json')
  const process = processIdentity(vmm?.pid as number)
  writeFileSync(record, JSON.stringify({ ...JSON.parse(readFileSync(record, 'utf8')), process }))
  const machine = (await connectMachine(id, world.launch)) as RunningMachine
  expect(readFileSync(`/proc/${machine.pid}/status`, 'utf8')).toContain(`NSpid:\t${machine.pid}\t1\n`)
  return { machine, console: guest.console, [Symbol.asyncDispose]: () => guest[Symbol.asyncDispose]() }
}

const childrenOf = ({ pid }: RunningMachine) => processes().filter(({ parent }) => parent === pid)

test('is captured live, and what is left of a capture is gone with the next', async () => {
  await using guest = await bootInNamespace()
  const { machine, console } = guest
  for (const [index, freeze] of (['fork', 'copy', 'fork'] as const).entries()) {
    await console.fill(written.pattern, index)
    const tags = [`namespace-${index}`]
    const { way } = await captureSnapshot(machine, { store: world.store, mode: 'live', freeze, tags })
    // A base of a machine with a log is a Diff.
    expect(way.frozen?.how).toBe(freeze)
    await untilTrue(() => childrenOf(machine).every(({ state }) => state === 'Z'), 100)
    // Its twin and its frozen child.
    expect(childrenOf(machine).length).toBeLessThanOrEqual(2)
    await using restored = await MicroVm.restore(place(), `namespace-${index}`, 'file')
    await restored.resume()
    await restored.verify({ ...written, seed: index })
  }
})

test('whose helper is killed runs on, and its next snapshot is right', async () => {
  await using guest = await bootInNamespace()
  const { machine, console } = guest
  await console.fill(written.pattern, 7)
  const taken = await takeSnapshot(machine, { store: world.store, mode: 'live', freeze: 'fork' })
  expect(frozenOf(machine).filter(({ state }) => state === 't')).toHaveLength(1)
  for (const { pid, command } of processes())
    if (command.includes('freezer-main') && command.endsWith(`\0${process.pid}\0`))
      process.kill(pid, 'SIGKILL')
  await expect(taken.seal()).rejects.toMatchObject({ code: 'INJECTION_FAILED' })
  await untilTrue(() => childrenOf(machine).every(({ state }) => state === 'Z'), 100)
  const tags = ['after-kill']
  const { lost } = await captureSnapshot(machine, { store: world.store, mode: 'live', tags })
  expect(lost).toBeNull()
  expect(childrenOf(machine).length).toBeLessThanOrEqual(2)
  await using restored = await MicroVm.restore(place(), 'after-kill', 'file')
  await restored.resume()
  await restored.verify({ ...written, seed: 7 })
})
