import assert from 'node:assert/strict'
import { mkdirSync } from 'node:fs'
import { touchedPages } from '@varve/lab'
import { MicroVm } from '@varve/lab/testing'
import { isVarveError } from 'varve'
import { dataPages, indexMemoryFile } from 'varve/layers'
import { minus, pageSetFromPages } from 'varve/working-sets'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'
import { withTmpfs } from './tmpfs.js'

const memoryMib = 32
const written = { start: 2000, count: 600, stride: 3, order: 5 }
/** Less than the 600 pages that the Diff has to write: it breaks off in the middle. */
const diskBytes = 256 * 4096

/**
 * The disk becomes full in the middle of a Diff. By then Firecracker has read KVM's log, and reading clears
 * it, so that the next Diff is complete only if Firecracker kept what it read.
 */
async function noSpace(context: ScenarioContext): Promise<Facts> {
  await using vm = await MicroVm.boot(context, { memoryMib })
  const take = async (name: string, memoryPath: string) => {
    await (await vm.pause()).snapshot({ type: 'Diff', statePath: context.path(`${name}.state`), memoryPath })
  }
  await take('first', context.path('first.memory'))
  await vm.resume()
  await vm.console.write(written, 9)

  const small = context.path('small')
  mkdirSync(small, { mode: 0o700 })
  const failure = await withTmpfs(small, diskBytes, () =>
    take('full-disk', `${small}/memory`).then(
      () => undefined,
      (error: unknown) => error,
    ),
  )
  assert.ok(isVarveError(failure, 'WRITE_FAILED'), String(failure))
  assert.match(failure.message, /No space left on device/)

  const again = context.path('again.memory')
  await take('again', again)
  const data = dataPages((await indexMemoryFile(again, { kind: 'diff' })).index)
  const told = pageSetFromPages(touchedPages(written))
  assert.equal(minus(told, data).pages, 0, 'the next Diff holds every page that the failed one should have')
  return { refusal: failure.message, pagesWritten: told.pages, nextDiffPages: data.pages }
}

export const diffNoSpaceScenario: Scenario = {
  name: 'diff-no-space',
  nativeIsEnough: true,
  claim: 'a Diff that ends for lack of space loses nothing: the next one holds its pages',
  run: noSpace,
}
