import assert from 'node:assert/strict'
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { touchedPages } from '@varve/lab'
import { MicroVm, type Written } from '@varve/lab/testing'
import { captureSnapshot, openLocalStore, VarveError } from 'varve'
import { dataPages } from 'varve/layers'
import { minus, pageSetFromPages } from 'varve/working-sets'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'
import { remount, withTmpfs } from './tmpfs.js'

const memoryMib = 32
const storeMib = 16
const before: Written = { pattern: { start: 1024, count: 500, order: 3 }, seed: 4 }
const after: Written = { pattern: { start: 2000, count: 800, order: 5 }, seed: 5 }

/**
 * The store's file system is full, then read-only, at a capture. The VM goes on, the store stays clean, and
 * the next capture holds every page that the failed ones should have.
 */
async function storeNoSpace(context: ScenarioContext): Promise<Facts> {
  const mount = context.path('mount')
  mkdirSync(mount, { mode: 0o700 })
  return withTmpfs(mount, storeMib * 2 ** 20, async () => {
    const store = await openLocalStore(`${mount}/store`, { create: true })
    const small = { ...context, store }
    await using vm = await MicroVm.boot(small, { memoryMib })
    await vm.fill(before)
    await vm.capture(small, 'base')
    await vm.resume()
    await vm.fill(after)

    const ballast = `${mount}/ballast`
    fill(ballast)
    const full = await refusal(captureSnapshot(await vm.pause(), { store, parent: 'base' }))
    rmSync(ballast)
    assert.deepEqual([full.code, full.details.errno], ['WRITE_FAILED', 'ENOSPC'])
    assert.match(full.message, /No space left on device|ENOSPC/)
    await vm.resume()
    assert.equal(await vm.verify(after), after.pattern.count, 'the guest goes on')

    remount(mount, 'ro')
    const readOnly = await refusal(captureSnapshot(await vm.pause(), { store, parent: 'base' }))
    remount(mount, 'rw')
    assert.deepEqual([readOnly.code, readOnly.details.errno], ['WRITE_FAILED', 'EROFS'])
    assert.match(readOnly.message, /Read-only file system|EROFS/)
    await vm.resume()

    assert.deepEqual(readdirSync(`${mount}/store/varve/staging`), [], 'nothing half-made is left')
    assert.deepEqual(
      (await store.fsck()).findings.filter(({ severity }) => severity === 'error'),
      [],
    )
    const { layer } = await vm.capture(small, 'child', { parent: 'base' })
    const told = pageSetFromPages(touchedPages(after.pattern))
    assert.equal(minus(told, dataPages(layer.index)).pages, 0, 'the next Diff holds all of its pages')
    {
      await using restored = await MicroVm.restore(small, 'child', 'paged')
      await restored.resume()
      assert.equal(await restored.verify(before, after), before.pattern.count + after.pattern.count)
    }
    return { full: full.message, readOnly: readOnly.message, pages: told.pages }
  })
}

async function refusal(work: Promise<unknown>): Promise<VarveError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof VarveError, `refused with ${String(error)}`)
  return error
}

/** Until nothing more fits. */
function fill(path: string): void {
  try {
    writeFileSync(path, Buffer.alloc(storeMib * 2 ** 20))
  } catch (error) {
    assert.equal((error as NodeJS.ErrnoException).code, 'ENOSPC')
  }
}

export const storeNoSpaceScenario: Scenario = {
  name: 'store-no-space',
  nativeIsEnough: true,
  claim:
    'a capture into a full or read-only store changes nothing: the VM goes on, the next capture has it all',
  run: storeNoSpace,
}
