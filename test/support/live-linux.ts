import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { NestedLab } from '@varve/lab'
import { expect } from 'vitest'
import { type CountedPage, faultsOfInstant } from './counted-pages.js'
import { xfsForLab } from './xfs-in-lab.js'

/** Pages of each process, apart from those that all of them share. */
const pages = 64
const [ringBlocks, windowPages] = [64, 16]
/** Of the disk that the guest writes to. */

export interface LiveLinuxOptions {
  readonly vcpus: number
  /** How the memory is frozen, capture by capture. */
  readonly rounds: readonly ('fork' | 'copy')[]
  /** Which engine restores: the first one the base, and all of them the last snapshots, one each. */
  readonly engines: readonly ('file' | 'mapped' | 'paged')[]
  /** Whether store and disks lie on an XFS. */
  readonly reflinks: boolean
}

interface Process {
  readonly running: boolean
  readonly rounds: number
  readonly wrong: number
  readonly first: readonly number[]
}

interface Processes {
  readonly workers: readonly Process[]
  readonly traffic: readonly (Process & { readonly name: string })[]
}

/** Of one snapshot: what its memory and its disk hold. */
export interface TrafficFound {
  /** Pages that the guest had said it has before the capture, and pages that were sent when it was over. */
  readonly stream: { readonly acked: number; readonly sent: number }
  /** Pages of the stream that it has; blocks that it began to write, and that are written. */
  readonly counters: readonly CountedPage[]
  /** The numbers on the ring of blocks; null for a block that has not one number throughout. */
  readonly disk: readonly (number | null)[]
}

interface Found {
  readonly captured: readonly (TrafficFound & {
    readonly tag: string
    readonly type: string
    readonly way: { readonly mode: string; readonly frozen: { readonly how: string } | null }
    readonly standstillMs: number
    readonly disksMs: number
    readonly counted: readonly CountedPage[]
    readonly first: Processes
    readonly now: Processes
  })[]
  readonly restores: readonly {
    readonly tag: string
    readonly engine: string
    readonly first: Processes
    readonly now: Processes
    readonly acked: number
  }[]
  readonly fsck: readonly unknown[]
  readonly machinesLeft: number
}

const here = (name: string) => fileURLToPath(new URL(`../nested-lab/${name}`, import.meta.url))
const files = [
  'counted-in-image.mjs',
  'device-traffic.py',
  'give-way.mjs',
  'memory-workers.py',
  'reflink-scratch.mjs',
  'stream-to-guest.mjs',
]
/** Alone a minute, emulated; with other work on the machine several times as much. */
export const liveLinuxTimeoutMs = 900_000

/** What contradicts that memory, disk and stream are of one instant, in words. */
export function faultsOfTraffic({ stream, counters, disk }: TrafficFound): string[] {
  const [received, begun, done] = counters.map(([, , number]) => number) as [number, number, number]
  const faults: string[] = []
  if (received < stream.acked || received > stream.sent)
    faults.push(`it has ${received} pages of the stream, told ${stream.acked} and was sent ${stream.sent}`)
  if (disk.includes(null)) faults.push(`block ${disk.indexOf(null)} has not one number throughout`)
  const written = Math.max(...disk.map((number) => number ?? 0))
  if (written < done) faults.push(`the disk is older: ${written}, where memory has ${done} as written`)
  if (written > begun) faults.push(`the disk is newer: ${written}, where memory has begun ${begun}`)
  for (const [block, number] of disk.entries()) {
    const due = Math.max(0, written - ((written - block + ringBlocks) % ringBlocks))
    if (number !== null && number !== due) faults.push(`block ${block} holds ${number}, not ${due}`)
  }
  return faults
}

/**
 * A guest whose processes work on memory, disks and vsock is captured live again and again, and restored.
 * `folder`: for files that go into the lab.
 */
export async function testLiveLinux(
  lab: NestedLab,
  options: LiveLinuxOptions,
  folder: string,
): Promise<void> {
  const { vcpus, rounds, engines, reflinks } = options
  const xfs = reflinks ? await xfsForLab(join(folder, 'modules')) : {}
  const { exitCode, stderr, result } = await lab.run({
    script: here('linux-live.mjs'),
    args: [JSON.stringify({ ...options, pages })],
    files: { ...Object.fromEntries(files.map((name) => [name, here(name)])), ...xfs },
    timeoutMs: liveLinuxTimeoutMs,
    onOutput: (text) => process.stderr.write(`  nested: ${text}`),
  })
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
  const { captured, restores, fsck, machinesLeft } = result as Found
  const expected = [['base', 'fork'], ...rounds.map((how, round) => [`round-${round}`, how])]
  expect(captured.map(({ tag, way }) => [tag, way.frozen?.how])).toEqual(expected)
  expect(restores.map(({ tag, engine }) => [tag, engine])).toEqual([
    ['base', engines[0]],
    ...engines.map((engine, index) => [`round-${rounds.length - engines.length + index}`, engine]),
  ])
  for (const { tag, type, way, counted, disksMs, standstillMs, now, ...traffic } of captured) {
    expect({ tag, type, mode: way.mode }).toEqual({ tag, type: 'Diff', mode: 'live' })
    expect(faultsOfInstant(counted, Math.max(2, vcpus)), tag).toEqual([])
    expect(faultsOfTraffic(traffic), tag).toEqual([])
    expect(traffic.stream.acked, tag).toBeGreaterThan(0)
    // The disk is copied while the guest stands still.
    expect(disksMs).toBeGreaterThan(0)
    expect(disksMs).toBeLessThan(standstillMs)
    expectGoing(now, tag)
  }
  for (const { tag, first, now, acked } of restores) {
    expectGoing(now, tag)
    // It is that snapshot's state, and goes on from there.
    const { first: before, counters } = captured.find((it) => it.tag === tag) ?? expect.fail(tag)
    const rounds = ({ workers, traffic }: Processes) => [...workers, ...traffic].map((it) => it.rounds)
    for (const [index, after] of rounds(first).entries())
      expect(after, tag).toBeGreaterThanOrEqual(rounds(before)[index] as number)
    expect(acked, tag).toBeGreaterThan((counters[0]?.[2] ?? 0) + windowPages)
  }
  expect({ fsck, machinesLeft }).toEqual({ fsck: [], machinesLeft: 0 })
}

function expectGoing({ workers, traffic }: Processes, tag: string): void {
  const wrong = [...workers, ...traffic].filter((it) => !it.running || it.wrong > 0)
  expect(wrong, `${tag}: processes that ended, or found something wrong`).toEqual([])
}
