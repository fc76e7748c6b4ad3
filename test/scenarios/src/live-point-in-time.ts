import assert from 'node:assert/strict'
import { closeSync, openSync, readSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { decodePageWord, type TouchPattern } from '@varve/lab'
import { MicroVm } from '@varve/lab/testing'
import { captureSnapshot, engineNames, flattenSnapshot, type RunningMachine, type TakeOptions } from 'varve'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

const pageBytes = 4096
/**
 * Ascending: at each moment the pages up to one place have the present pass, those behind it the one before.
 */
const pages: TouchPattern = { start: 1024, count: 12_000 }
const rounds: readonly TakeOptions['freeze'][] = ['fork', 'copy', 'auto', 'fork', 'copy']

/** Of the writer: a restored guest has passes of an earlier one. */
const firstPass = 1000

/** A guest that writes the number of its pass into all pages, one after another, without a pause. */
class Writer implements AsyncDisposable {
  readonly #vm: MicroVm
  readonly #passes: Promise<number>
  #stop = false

  constructor(vm: MicroVm) {
    this.#vm = vm
    this.#passes = this.#write()
    this.#passes.catch(() => {})
  }

  async #write(): Promise<number> {
    let pass = firstPass
    while (!this.#stop) await this.#vm.console.write(pages, pass++)
    return pass - firstPass
  }

  /** Gives how many passes it made. */
  end(): Promise<number> {
    this.#stop = true
    return this.#passes
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end()
  }
}

/** The pass that each page of the image has, in the order in which they are written. */
async function passesOf(context: ScenarioContext, ref: string): Promise<number[]> {
  await using snapshot = await context.store.open(ref)
  const { path } = await flattenSnapshot(snapshot)
  const fd = openSync(path, 'r')
  try {
    const word = Buffer.alloc(8)
    return Array.from({ length: pages.count }, (_, index) => {
      const page = pages.start + index
      readSync(fd, word, 0, 8, page * pageBytes)
      const found = decodePageWord(word.readBigUInt64LE())
      assert.ok(word.readBigUInt64LE() === 0n || found.page === page, `page ${page} holds page ${found.page}`)
      return found.seed
    })
  } finally {
    closeSync(fd)
  }
}

/** Gives the place of the step from one pass to the one before. */
function oneInstant(passes: readonly number[], ref: string): number {
  const steps = passes.flatMap((pass, index) => (index > 0 && pass !== passes[index - 1] ? [index] : []))
  assert.ok(steps.length <= 1, `${ref} is not of one instant: passes change at ${steps.join(', ')}`)
  const step = steps[0] ?? 0
  const before = passes[step - 1]
  if (step > 0 && before !== firstPass) assert.equal(before, (passes[step] as number) + 1, ref)
  return step
}

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
}
