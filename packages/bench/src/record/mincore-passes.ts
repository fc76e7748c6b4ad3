import { closeSync, ftruncateSync, openSync, readSync } from 'node:fs'
import { pageSizeBytes } from 'varve'
import { adviseRandom, dropPageCache, residentPages } from 'varve/testing'
import { pageSetFromBytes } from 'varve/working-sets'
import { compileC, must } from '../common/child.js'
import { thousandths, turned } from '../common/numbers.js'
import { say } from '../common/results.js'
import type { Scratch } from '../common/scratch.js'
import type { PassRow } from './record-rows.js'

const sizeBytes = 2 ** 30
/** Passes in a turn. Short turns and many of them: the machine may not be equally quiet all the time. */
const passes = 3

const patterns: readonly (readonly [string, (page: number) => boolean])[] = [
  ['none', () => false],
  ['all', () => true],
  ['every second', (page) => page % 2 === 0],
  ['runs of 16, a quarter of all', (page) => page % 64 < 16],
]

/** A sparse file of 1 GiB, of which known pages are in the page cache; JavaScript and C take turns. */
export function measurePasses(scratch: Scratch, rounds: number): PassRow[] {
  say('passes of mincore')
  const reference = scratch.path('mincore-pass')
  const compiled = compileC('mincore-pass.c', reference)
  if (!compiled) say('NOT MEASURED against C: there is no working C compiler (cc)')
  const path = scratch.path('one-gib')
  const fd = openSync(path, 'w+')
  try {
    ftruncateSync(fd, sizeBytes)
    adviseRandom(fd)
    return patterns.flatMap(([pages, wanted]) => {
      const touch = () => touchPages(fd, wanted)
      const byJs = () => {
        const from = performance.now()
        describeSet(fd)
        return thousandths(performance.now() - from)
      }
      touch()
      const rows: PassRow[] = []
      for (let round = 0; round <= 3 * rounds; ) {
        const before = describeSet(fd)
        let inC = before
        const jsMs: number[] = []
        const cMs: number[] = []
        for (const who of turned(['js', 'c'] as const, round))
          if (who === 'js') jsMs.push(...Array.from({ length: passes }, byJs))
          else if (compiled) {
            const lines = must(reference, [path, String(passes)])
              .trim()
              .split('\n')
            inC = lines.pop() ?? ''
            cMs.push(...lines.map((ns) => thousandths(Number(ns) / 1e6)))
          }
        // Under memory pressure the kernel drops pages in between: the turn then compares nothing.
        if (describeSet(fd) !== before) {
          touch()
          continue
        }
        if (inC !== before) throw new Error(`C found ${inC} (pages, runs), JavaScript ${before}`)
        if (round > 0) rows.push({ what: 'pass', pages, found: before, round, jsMs, cMs })
        round++
      }
      return rows
    })
  } finally {
    closeSync(fd)
  }
}

function touchPages(fd: number, wanted: (page: number) => boolean): void {
  const buffer = Buffer.alloc(pageSizeBytes)
  dropPageCache(fd)
  for (let page = 0; page < sizeBytes / pageSizeBytes; page++)
    if (wanted(page)) readSync(fd, buffer, 0, pageSizeBytes, page * pageSizeBytes)
}

/** Pages and runs, as the reference prints them. */
function describeSet(fd: number): string {
  const set = pageSetFromBytes(residentPages(fd))
  return `${set.pages} ${set.starts.length}`
}
