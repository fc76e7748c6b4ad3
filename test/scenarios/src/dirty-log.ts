import assert from 'node:assert/strict'
import { mkdirSync, statSync } from 'node:fs'
import { firecrackerBootPages, firecrackerLoadPages, microGuestOwnPages, touchedPages } from '@varve/lab'
import { MicroVm, rewrittenOnLoad } from '@varve/lab/testing'
import { isVarveError } from 'varve'
import { countPages, dataPages, indexMemoryFile, type LayerIndex } from 'varve/layers'
import {
  minus,
  type PageSet,
  pageSetFromPages,
  pageSetFromRuns,
  pagesOf,
  union,
  writtenPages,
} from 'varve/working-sets'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

const memoryMib = 32
const written = { start: 2000, count: 300, stride: 3, order: 5 }

/** What Full and Diff contain, and when the log of written pages is cleared. */
async function dirtyLog(context: ScenarioContext): Promise<Facts> {
  await using vm = await MicroVm.boot(context, { memoryMib })
  const takes = takeNamed(context, vm)

  const firstDiff = await takes('first-diff', 'Diff')
  const boot = unexplained(firstDiff, pageSetFromPages(firecrackerBootPages(context.binary.version)))
  assert.deepEqual(
    boot,
    [],
    'the first Diff of a booted VM holds what Firecracker and the guest wrote, no more',
  )

  const full = await takes('full', 'Full')
  const { blocks, size } = statSync(full.path)
  assert.equal(size, memoryMib * 2 ** 20)
  assert.ok(blocks * 512 >= size, 'a Full is dense: zeros are written too')

  assert.equal((await takes('diff-after-full', 'Diff')).data, 0, 'a Diff right after a Full is empty')

  await vm.resume()
  await vm.console.write(written, 9)
  const afterWrites = await takes('diff-after-writes', 'Diff')
  const told = pageSetFromPages(touchedPages(written))
  assert.deepEqual(unexplained(afterWrites, told), [])
  assert.equal(
    minus(told, dataPages(afterWrites.index)).pages,
    0,
    'every page that was written is in the Diff',
  )
  assert.equal((await takes('diff-after-diff', 'Diff')).data, 0, 'a Diff clears the log too')

  await vm.resume()
  await vm.console.zero({ start: 2000, count: 10 })
  const afterZero = await takes('diff-after-zero', 'Diff')
  assert.equal(afterZero.zero, 10, 'pages that became zero are written as data, so a hole means unchanged')

  const lost = await failedDiff(context, vm)
  return {
    firstDiffPages: firstDiff.data,
    fullAllocatedBytes: blocks * 512,
    pagesWritten: told.pages,
    diffPages: afterWrites.data,
    failedDiff: lost,
  }
}

/** A Diff that cannot be written leaves the machine usable, and the next one holds its pages. */
async function failedDiff(context: ScenarioContext, vm: MicroVm): Promise<string> {
  await vm.resume()
  await vm.console.write(written, 10)
  const paused = await vm.pause()
  const missing = context.path('no-such-directory')
  const failure = await paused
    .snapshot({ type: 'Diff', statePath: `${missing}/state`, memoryPath: `${missing}/memory` })
    .then(
      () => undefined,
      (error: unknown) => error,
    )
  assert.ok(isVarveError(failure, 'API_REFUSED'), String(failure))
  const next = await takeNamed(context, vm)('diff-after-failure', 'Diff')
  assert.equal(minus(pageSetFromPages(touchedPages(written)), dataPages(next.index)).pages, 0)
  return failure.message
}

interface Taken {
  readonly path: string
  readonly index: LayerIndex
  /** Pages. */
  readonly data: number
  readonly zero: number
}

const takeNamed =
  (context: ScenarioContext, vm: MicroVm) =>
  async (name: string, type: 'Full' | 'Diff'): Promise<Taken> => {
    const directory = context.path(name)
    mkdirSync(directory, { mode: 0o700 })
    const files = { statePath: `${directory}/state`, memoryPath: `${directory}/memory` }
    await (await vm.pause()).snapshot({ type, ...files })
    const { index } = await indexMemoryFile(files.memoryPath, { kind: type === 'Full' ? 'base' : 'diff' })
    return { path: files.memoryPath, index, ...countPages(index) }
  }

/** On VMX and SVM the processor sets accessed bits in Firecracker's segment table, which lies in page 0. */
const segmentTable = pageSetFromPages([0])

function unexplained({ index }: Taken, expected: PageSet): number[] {
  const own = pageSetFromRuns([microGuestOwnPages(memoryMib * 2 ** 20)])
  return [...pagesOf(minus(writtenPages(index), union(union(own, segmentTable), expected)))]
}

/** Which pages a load itself writes, seen as the first Diff after it. */
async function pagesWrittenByLoad(context: ScenarioContext): Promise<Facts> {
  {
    await using vm = await MicroVm.boot(context, { memoryMib })
    await vm.capture(context, 'base')
  }
  await using vm = await MicroVm.restore(context, 'base', 'file')
  const { index } = await takeNamed(context, vm)('diff-after-load', 'Diff')
  const pages = [...pagesOf(dataPages(index))]
  assert.deepEqual(pages, firecrackerLoadPages(context.binary.version))
  const named = Object.entries(rewrittenOnLoad)
    .filter(([, page]) => pages.includes(page))
    .map(([name]) => name)
  return { pages, named }
}

/** Without tracking, up to 1.12 a Diff is refused before Firecracker is asked; a Full works. */
async function untracked(context: ScenarioContext): Promise<Facts> {
  await using vm = await MicroVm.boot(context, { memoryMib, trackDirtyPages: false })
  const paused = await vm.pause()
  const take = (type: 'Full' | 'Diff') =>
    paused.snapshot({
      type,
      statePath: context.path(`${type}.state`),
      memoryPath: context.path(`${type}.memory`),
    })
  const { major, minor } = paused.firecrackerVersion
  if (major === 1 && minor < 13) {
    const failure = await take('Diff').then(
      () => undefined,
      (error: unknown) => error,
    )
    assert.ok(isVarveError(failure, 'VERSION_UNSUPPORTED'), String(failure))
    assert.match(failure.message, /1\.13\.0/)
  } else await take('Diff')
  await take('Full')
  return { version: `${major}.${minor}` }
}

export const dirtyLogScenarios: readonly Scenario[] = [
  {
    name: 'dirty-log',
    claim:
      'a Full is dense, a Diff holds exactly the pages written since; both clear the log, a failed Diff does not',
    run: dirtyLog,
  },
  {
    name: 'load-writes',
    claim: 'the first Diff after a load holds only the pages that the load itself wrote',
    run: pagesWrittenByLoad,
  },
  {
    name: 'untracked-diff',
    claim: 'a Diff without dirty tracking is refused where Firecracker cannot take it',
    run: untracked,
  },
]
