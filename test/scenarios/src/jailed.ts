import assert from 'node:assert/strict'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import { buildMicroGuest, MicroConsole } from '@varve/lab'
import { divideByName } from '@varve/lab/testing'
import { bootMachine, captureSnapshot, engineNames, type JailerOptions, restoreMachine } from 'varve'
import { compareImages, countPages } from 'varve/layers'
import { pagesOf } from 'varve/working-sets'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

const memoryMib = 32
const run = { start: 1024, count: 500 }

/** A user that owns nothing here: whatever works, works through the jail alone. */
const nobody = { uid: 54_321, gid: 54_321 }

/** The whole path in a jail: boot, base, child, and back through every engine. */
async function jailed(context: ScenarioContext): Promise<Facts> {
  const { binary, runtimeDirectory, store } = context
  const jailer: JailerOptions = { ...nobody, chrootBaseDir: context.path('jails') }
  const launch = { binary, runtimeDirectory, jailer }
  const kernel = context.path('micro.elf')
  writeFileSync(kernel, buildMicroGuest(), { mode: 0o600 })
  {
    await using machine = await bootMachine({ kernel, memoryMib, vcpus: 1 }, launch)
    assert.match(
      readFileSync(`/proc/${machine.pid}/status`, 'utf8'),
      new RegExp(`^Uid:\\s+${nobody.uid}\\b`, 'm'),
    )
    await using console = MicroConsole.attach(machine.paths)
    await console.fill(run, 1)
    const paused = await machine.pause()
    await captureSnapshot(paused, { store, tags: ['base'] })
    const running = await paused.resume()
    await console.fill({ ...run, start: 1200 }, 2)
    const { layer } = await captureSnapshot(await running.pause(), { store, tags: ['child'], parent: 'base' })
    const { data } = countPages(layer.index)
    assert.ok(data < 600, `holes of the Diff came out of the jail as holes: ${data} data pages`)
  }
  await using snapshot = await store.open('child')
  for (const { path } of snapshot.files) assert.equal(statSync(path).uid, process.getuid?.())
  const unexplained: Record<string, number[]> = {}
  for (const engine of engineNames) {
    const { machine } = await restoreMachine(store, 'child', { engine, ...launch })
    await using _machine = machine
    await using console = MicroConsole.attach(machine.paths)
    assert.equal(await console.verify({ start: 1024, count: 176 }, 1), 176)
    assert.equal(await console.verify({ ...run, start: 1200 }, 2), 500)
    const memoryPath = context.path(`again-${engine}`)
    await (await machine.pause()).snapshot({ type: 'Full', statePath: `${memoryPath}.state`, memoryPath })
    const differing = await compareImages(snapshot, memoryPath)
    unexplained[engine] = [...pagesOf(divideByName(differing, memoryMib).unexplained)]
    assert.deepEqual(unexplained[engine], [])
  }
  return { uid: nobody.uid }
}

export const jailedScenario: Scenario = {
  name: 'jailed',
  nativeIsEnough: true,
  claim: 'under the jailer, as another user, layers are taken and come back through every engine',
  run: jailed,
  notApplicable: ({ path, jailerPath }) => (jailerPath === undefined ? `no jailer is next to ${path}` : null),
}
