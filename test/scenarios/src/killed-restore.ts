import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readlinkSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { MicroVm, type Written } from '@varve/lab/testing'
import { type EngineName, engineNames, listMachines } from 'varve'
import { makeThreeLayers } from './layered-restore.js'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

const still: Written = { pattern: { start: 1024, count: 900, order: 3 }, seed: 1 }
/** In the second region of a guest of 4 GiB. */
const above: Written = { pattern: { start: 3400 * 256, count: 300, order: 2 }, seed: 2 }
const ofClone: Written = { pattern: { start: 6000, count: 400, order: 7 }, seed: 5 }

/** An image to be restored, and what its guest must hold then. */
interface Image {
  readonly ref: string
  readonly holds: readonly Written[]
}
const chain: Image = { ref: 'two', holds: [still] }
/**
 * `VARVE_KILL_IMAGES=all`: a base alone, a child of a clone, and two regions, too. What is left
 * does not depend on it, so far.
 */
const allImages = process.env.VARVE_KILL_IMAGES === 'all'
const kills = 5
/** From before the VMM is there until after the guest runs, as the whole restore took. */
const overshoot = 1.2
/**
 * A VMM that was just being started ends with its parent; one with a record when a process lists machines.
 */
const endsWithinMs = 5000

/**
 * Says "begin" before a restore and "end" after it, and then waits to be killed. Ends with its parent,
 * which a time limit may end first.
 */
const program = `
process.stdin.resume().on('end', () => process.exit(1))
const { openLocalStore, restoreMachine, findFirecracker } = await import(process.argv[1])
const [, , location, runtimeDirectory, engine, ref] = process.argv
const store = await openLocalStore(location)
const binary = await findFirecracker()
process.stdout.write('begin\\n')
await restoreMachine(store, ref, { engine, binary, runtimeDirectory })
process.stdout.write('end\\n')
setInterval(() => {}, 1000)`

async function killedRestore(context: ScenarioContext, engine: EngineName): Promise<Facts> {
  await makeThreeLayers(context)
  const images = allImages ? [chain, ...(await makeOthers(context))] : [chain]
  const found: Record<string, Facts> = {}
  for (const image of images) found[image.ref] = await killRestoresOf(context, engine, image)
  return found
}

async function makeOthers(context: ScenarioContext): Promise<readonly Image[]> {
  {
    await using vm = await MicroVm.restore(context, 'two', 'file')
    await vm.resume()
    await vm.fill(ofClone)
    await vm.capture(context, 'of-clone', { parent: 'two' })
  }
  await using vm = await MicroVm.boot(context, { memoryMib: 4096 })
  await vm.fill(still, above)
  await vm.capture(context, 'two-regions', { base: 'Diff' })
  return [
    { ref: 'base', holds: [still] },
    { ref: 'of-clone', holds: [still, ofClone] },
    { ref: 'two-regions', holds: [still, above] },
  ]
}

async function killRestoresOf(
  context: ScenarioContext,
  engine: EngineName,
  { ref, holds }: Image,
): Promise<Facts> {
  // The first one starts what later ones find: the flat file, the page server, the mapper.
  await untilKilled(context, engine, ref, null)
  let wholeMs = await untilKilled(context, engine, ref, null)
  const outcomes = { during: 0, after: 0 }
  for (let kill = 0; kill < kills; kill++) {
    const afterMs = (wholeMs * overshoot * (kill + Math.random())) / kills
    const ended = await untilKilled(context, engine, ref, afterMs)
    outcomes[ended === Number.POSITIVE_INFINITY ? 'during' : 'after']++
    wholeMs = Math.min(wholeMs, ended)
    await nothingLeft(context)
  }
  assert.ok(outcomes.during > 0, JSON.stringify({ wholeMs, outcomes }))
  await using vm = await MicroVm.restore(context, ref, engine)
  await vm.resume()
  await vm.verify(...holds)
  return { wholeMs: Math.round(wholeMs), outcomes }
}

/**
 * Restores in a process that is killed after so long, or when it is done. Gives how long the
 * restore took: for ever, if killed.
 */
async function untilKilled(
  { runtimeDirectory, store }: ScenarioContext,
  engine: EngineName,
  ref: string,
  afterMs: number | null,
): Promise<number> {
  const varve = import.meta.resolve('varve')
  const args = ['--input-type=module', '-e', program, varve, store.location, runtimeDirectory, engine, ref]
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  try {
    let begun = 0
    const done = said(child, 'end').then(() => performance.now() - begun)
    // It is killed long before it says so, mostly.
    done.catch(() => {})
    await said(child, 'begin')
    begun = performance.now()
    if (afterMs === null) return await done
    return await Promise.race([done, sleep(afterMs).then(() => Number.POSITIVE_INFINITY)])
  } finally {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  }
}

function said(child: ChildProcess, word: string): Promise<void> {
  return new Promise((resolve, reject) => {
    child.stdout?.setEncoding('utf8').on('data', (text: string) => text.includes(word) && resolve())
    child.once('exit', () => reject(new Error(`it ended before it said ${word}`)))
  })
}

/** No machine and no VMM, and a store in which nothing is wrong; what was half-made there is gc’s to take. */
async function nothingLeft({ runtimeDirectory, store }: ScenarioContext): Promise<void> {
  const deadline = performance.now() + endsWithinMs
  for (;;) {
    const machines = listMachines(runtimeDirectory).map(({ record }) => record.id)
    const vmms = vmmsIn(runtimeDirectory)
    if (machines.length + vmms.length === 0) break
    assert.ok(performance.now() < deadline, `left: ${machines.join(', ')}; ${vmms.join(', ')}`)
    await sleep(5)
  }
  const { findings } = await store.fsck()
  assert.deepEqual(
    findings.filter(({ severity }) => severity === 'error'),
    [],
  )
}

/** Firecracker processes that work in a machine's directory there, or did before it was removed. */
function vmmsIn(runtimeDirectory: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false
    try {
      const at = (name: string) => readlinkSync(`/proc/${pid}/${name}`)
      return at('cwd').startsWith(`${runtimeDirectory}/machines/`) && at('exe').includes('firecracker')
    } catch {
      // Ended since the listing, or not ours to see.
      return false
    }
  })
}

export const killedRestoreScenarios: readonly Scenario[] = engineNames.map((engine) => ({
  name: `killed-restore-${engine}`,
  claim: `a process that is killed at any moment of a restore by the ${engine} engine leaves no machine, and the store whole`,
  run: (context) => killedRestore(context, engine),
  nativeIsEnough: true,
}))
