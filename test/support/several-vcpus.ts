import { fileURLToPath } from 'node:url'
import type { NestedLab } from '@varve/lab'
import { expect } from 'vitest'
import { type CountedPage, faultsOfInstant } from './counted-pages.js'

/**
 * Pages of each process, apart from those that all of them share: enough that a Diff is full of them.
 */
const pages = 128
const commonPages = 64
const engines = ['file', 'mapped', 'paged', 'auto'] as const
/** Alone two minutes, emulated; with other work on the machine several times as much. */
export const severalVcpusTimeoutMs = 1_200_000

/** What the guest says of its processes: test/nested-lab/memory-workers.py. */
interface Report {
  readonly mark: string | null
  readonly vcpus: number
  readonly workers: readonly {
    readonly running: boolean
    readonly rounds: number
    readonly wrong: number
    readonly first: readonly number[]
  }[]
}

/** Two reports, between which each process should have gone over all of its pages twice. */
interface Going {
  readonly first: Report
  readonly now: Report
}

interface Found {
  readonly begun: Report
  readonly captured: readonly (Going & {
    readonly tag: string
    readonly type: string
    readonly way: { readonly mode: string; readonly frozen: { readonly how: string } | null }
    readonly before: Report
    readonly counted: readonly CountedPage[]
  })[]
  readonly restores: readonly (Going & {
    readonly tag: string
    readonly engine: string
    readonly workingSet?: string
    readonly kill?: {
      readonly faultsBefore: number
      readonly faultsAfter: number
      readonly otherServer: boolean
    }
    readonly chosen: string
    readonly prefetched: { readonly failure: string | null } | null
    readonly recorded?: Going & {
      readonly sets: readonly {
        readonly recorder: string
        readonly present: number | null
        readonly written: number | null
      }[]
    }
  })[]
  readonly fsck: readonly unknown[]
  readonly machinesLeft: number
}

const here = (name: string) => fileURLToPath(new URL(`../nested-lab/${name}`, import.meta.url))

/**
 * A guest of so many vCPUs, all of them at work on memory, through captures, restores, recorders and a page
 * server's death.
 */
export async function testSeveralVcpus(lab: NestedLab, vcpus: number): Promise<void> {
  const { exitCode, stderr, result } = await lab.run({
    script: here('linux-vcpus.mjs'),
    args: [JSON.stringify({ vcpus, pages, engines })],
    files: Object.fromEntries(
      ['memory-workers.py', 'counted-in-image.mjs', 'give-way.mjs'].map((it) => [it, here(it)]),
    ),
    timeoutMs: severalVcpusTimeoutMs,
    onOutput: (text) => process.stderr.write(`  nested: ${text}`),
  })
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
  const { begun, captured, restores, fsck, machinesLeft } = result as Found
  expect(begun).toMatchObject({ vcpus, workers: { length: vcpus } })
  expect(captured.map(({ tag, type, way }) => [tag, type, way.mode, way.frozen?.how])).toEqual([
    ['base', 'Diff', 'stop', undefined],
    ['child', 'Diff', 'live', 'fork'],
    ['grandchild', 'Diff', 'live', 'copy'],
  ])
  const whatRan = restores.map(({ tag, engine, workingSet, recorded, kill }) =>
    [
      tag,
      engine,
      workingSet ?? '',
      recorded === undefined ? '' : recorded.sets.map(({ recorder }) => recorder).join(),
      kill === undefined ? '' : 'killed',
    ].filter((it) => it !== ''),
  )
  expect(whatRan).toEqual([
    ['base', 'mapped'],
    ['child', 'paged'],
    ...engines.map((engine) => ['grandchild', engine]),
    ['grandchild', 'file', 'mincore,pagemap,diff'],
    ['grandchild', 'paged', 'faults,diff'],
    ...engines.map((engine) => ['grandchild', engine, 'work']),
    ['grandchild', 'paged', 'killed'],
  ])
  for (const { tag, counted, ...going } of captured) {
    expectGoing(going, tag)
    expect(faultsOfInstant(counted, vcpus), tag).toEqual([])
  }
  for (const { tag, engine, chosen, workingSet, prefetched, recorded, kill, ...going } of restores) {
    if (engine !== 'auto') expect(chosen).toBe(engine)
    expectGoing(going, tag)
    // It is that snapshot's state: not an older one.
    const { before } = captured.find((it) => it.tag === tag) ?? expect.fail(`no snapshot ${tag}`)
    expect(before.workers.filter(({ rounds }, i) => (going.first.workers[i]?.rounds ?? 0) < rounds)).toEqual(
      [],
    )
    if (workingSet !== undefined && engine !== 'auto') expect(prefetched).toMatchObject({ failure: null })
    if (kill !== undefined) {
      expect(kill.otherServer).toBe(true)
      expect(kill.faultsBefore).toBeGreaterThan(0)
      expect(kill.faultsAfter).toBeGreaterThan(0)
    }
    if (recorded === undefined) continue
    expectGoing(recorded, tag)
    // Each process has written all of its pages since the load.
    for (const { present, written } of recorded.sets)
      for (const found of [present, written])
        if (found !== null) expect(found).toBeGreaterThanOrEqual(vcpus * pages + commonPages)
  }
  expect({ fsck, machinesLeft }).toEqual({ fsck: [], machinesLeft: 0 })
}

function expectGoing({ first, now }: Going, tag: string): void {
  expect(now.mark).toBe(tag)
  const wrong = now.workers.filter(
    (worker, i) => !worker.running || worker.wrong > 0 || worker.rounds < (first.workers[i]?.rounds ?? 0) + 2,
  )
  expect(wrong, `${tag}: processes that ended, found a wrong page or stand still`).toEqual([])
}
