import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { MicroVm, type Written } from '@varve/lab/testing'
import { captureSnapshot, isVarveError, openLocalStore } from 'varve'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'
import { withTmpfs } from './tmpfs.js'

const memoryMib = 32
const written: Written = { pattern: { start: 1024, count: 300, stride: 7, order: 3 }, seed: 4 }

/**
 * A store where a file cannot have a hole of one page: tmpfs with huge pages has holes of 2 MiB.
 * A Diff there would turn unchanged pages into zeros, and is refused before Firecracker is
 * asked; a base is whole in any case.
 */
async function coarseHoles(context: ScenarioContext): Promise<Facts> {
  const mount = context.path('mount')
  mkdirSync(mount, { mode: 0o700 })
  const work = async () => {
    const store = await openLocalStore(`${mount}/store`, { create: true })
    const coarse = { ...context, store }
    await using vm = await MicroVm.boot(coarse, { memoryMib })
    await vm.fill(written)
    const { type } = await vm.capture(coarse, 'base')
    assert.equal(type, 'Full', 'the base of a tracked VM is a Full where a Diff would not be right')
    await vm.resume()
    const before = vm.machine.snapshotsTaken
    const refusal = await captureSnapshot(await vm.pause(), { store, parent: 'base' }).then(
      () => undefined,
      (error: unknown) => error,
    )
    assert.ok(isVarveError(refusal, 'HOST_UNSUPPORTED'), String(refusal))
    assert.equal(vm.machine.snapshotsTaken, before, 'Firecracker was not asked')
    await using restored = await MicroVm.restore(coarse, 'base', 'file')
    await restored.resume()
    assert.equal(await restored.verify(written), written.pattern.count)
    return { refusal: refusal.message, remedy: refusal.remedy }
  }
  return withTmpfs(mount, 128 * 2 ** 20, work, ['huge=always'])
}

export const coarseHolesScenario: Scenario = {
  name: 'coarse-holes',
  claim: 'where a hole cannot be one page small, a Diff is refused with the remedy, and a base is right',
  run: coarseHoles,
}
