import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { MicroVm } from '@varve/lab/testing'
import { captureSnapshot, engineNames, type RunningMachine, type TakeOptions } from 'varve'
import { oneInstant, passesOf, Writer } from './live-writer.js'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

const rounds: readonly TakeOptions['freeze'][] = ['fork', 'copy', 'auto', 'fork', 'copy']

async function capturesOf(context: ScenarioContext, vm: MicroVm, name: string): Promise<number[]> {
  await using writer = new Writer(vm)
  const steps: number[] = []
  for (const [round, freeze] of rounds.entries()) {
    await sleep(17 * (round + 1))
    const tag = `${name}-${round}`
    const machine = vm.machine as RunningMachine
    const taken = await captureSnapshot(machine, { store: context.store, tags: [tag], mode: 'live', freeze })
    assert.equal(taken.way.mode, 'live')
    steps.push(oneInstant(await passesOf(context, tag), tag))
  }
  assert.ok((await writer.end()) > 1)
  return steps
}

async function livePointInTime(context: ScenarioContext): Promise<Facts> {
  const facts: Record<string, number[]> = {}
  for (const memoryMib of context.lab === 'native' ? [128, 4096] : [128]) {
    const name = `${memoryMib}`
    await using vm = await MicroVm.boot(context, { memoryMib })
    facts[name] = await capturesOf(context, vm, name)
  }
  for (const engine of engineNames) {
    await using vm = await MicroVm.restore(context, '128-4', engine)
    await vm.resume()
    // The restored guest is in the middle of a pass, and of a command that this console did not give.
    await vm.console.ping()
    facts[engine] = await capturesOf(context, vm, engine)
  }
  return facts
}

export const livePointInTimeScenario: Scenario = {
  name: 'live-point-in-time',
  claim:
    'a guest that writes all the time is captured live as it was at one instant: by copy and by fork, with one region and two, after a boot and after a restore by each engine',
  run: livePointInTime,
  // Under emulation it takes minutes; Linux guests are captured live in the nested lab (linux-vcpus.mjs).
  nativeIsEnough: true,
}
