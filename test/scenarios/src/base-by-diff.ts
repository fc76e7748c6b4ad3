import assert from 'node:assert/strict'
import { statSync } from 'node:fs'
import { divideByName, MicroVm, median, type Written } from '@varve/lab/testing'
import { compareImages, countPages } from 'varve/layers'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

const written: Written = { pattern: { start: 1024, count: 4000, order: 3 }, seed: 4 }

interface Row {
  readonly base: 'Full' | 'Diff'
  /** How long the guest stood still. */
  readonly createMs: number
  /** From the pause to the committed snapshot. */
  readonly totalMs: number
  readonly allocatedBytes: number
  readonly dataPages: number
}

/**
 * The base of a VM whose pages were tracked since its boot, taken both ways, interleaved. Both are whole
 * images: each is restored, and compared with a Full taken in the same pause.
 */
async function baseByDiff(context: ScenarioContext): Promise<Facts> {
  const memoryMib = context.lab === 'native' ? 256 : 64
  // One shows that it is right; `VARVE_ROUNDS=3` for figures.
  const rounds = Number(process.env.VARVE_ROUNDS ?? 1)
  const rows: Row[] = []
  for (let round = 0; round < rounds; round++)
    for (const base of round % 2 === 0 ? (['Full', 'Diff'] as const) : (['Diff', 'Full'] as const))
      rows.push(await takeBase(context, base, memoryMib, round === 0))
  const of = (base: Row['base']) => rows.filter((row) => row.base === base)
  const medians = (base: Row['base']) => ({
    pauseMs: Math.round(median(of(base).map(({ createMs }) => createMs))),
    totalMs: Math.round(median(of(base).map(({ totalMs }) => totalMs))),
    allocatedMib: Math.round(median(of(base).map(({ allocatedBytes }) => allocatedBytes)) / 2 ** 20),
    dataPages: of(base)[0]?.dataPages,
  })
  const [full, diff] = [medians('Full'), medians('Diff')]
  assert.equal(diff.dataPages, full.dataPages, 'both find the same pages with data')
  return { memoryMib, rounds, full, diff, raw: rows }
}

async function takeBase(
  context: ScenarioContext,
  base: Row['base'],
  memoryMib: number,
  compare: boolean,
): Promise<Row> {
  await using vm = await MicroVm.boot(context, { memoryMib })
  await vm.fill(written)
  await vm.pause()
  const start = performance.now()
  const { createMs, layer } = await vm.capture(context, base.toLowerCase(), { base })
  const totalMs = performance.now() - start
  await using snapshot = await context.store.open(base.toLowerCase())
  const { data, zero, absent } = countPages(layer.index)
  assert.equal(absent, 0, 'a base leaves no page to anybody else')
  assert.equal(data + zero, memoryMib * 256)
  if (compare) {
    const memoryPath = context.path(`${base}.memory`)
    await (await vm.pause()).snapshot({ type: 'Full', statePath: `${memoryPath}.state`, memoryPath })
    assert.equal((await compareImages(snapshot, memoryPath)).pages, 0, 'nothing ran since, nothing differs')
    await using again = await MicroVm.restore(context, base.toLowerCase(), 'file')
    await again.resume()
    assert.equal(await again.verify(written), written.pattern.count)
    const path = context.path(`${base}-again.memory`)
    await (await again.pause()).snapshot({ type: 'Full', statePath: `${path}.state`, memoryPath: path })
    assert.equal(divideByName(await compareImages(snapshot, path), memoryMib).unexplained.pages, 0)
  }
  const [file] = snapshot.files
  return {
    base,
    createMs,
    totalMs,
    allocatedBytes: file === undefined ? 0 : statSync(file.path).blocks * 512,
    dataPages: data,
  }
}

export const baseByDiffScenario: Scenario = {
  name: 'base-by-diff',
  nativeIsEnough: true,
  claim: 'a base taken as a Diff of a VM tracked since boot is the same image as a Full, sparse and sooner',
  run: baseByDiff,
}
