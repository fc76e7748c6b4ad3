import { closeSync, fstatSync, openSync, readSync } from 'node:fs'
import { decodePageWord, MicroConsole, pageWord } from '@varve/lab'
import { flattenSnapshot, isVarveError, pageSizeBytes, type Restored, type RunningMachine } from 'varve'
import { blockOf, blocks, memoryPages, passes, still, stillSeed } from './live-guest.js'
import type { SoakWorld } from './phases.js'

/** A page after `fill` or, with one word, after `write` into a page of zeros. */
function pageOf(page: number, seed: number, words: 'all' | 'first'): Buffer {
  const word = Buffer.alloc(8)
  word.writeBigUInt64LE(pageWord(page, seed))
  if (words === 'all') return Buffer.alloc(pageSizeBytes, word)
  const bytes = Buffer.alloc(pageSizeBytes)
  word.copy(bytes)
  return bytes
}

/**
 * Compares every byte of the guest's pages with what they must hold, the pages of the running pass as of one
 * instant: up to one place they have one pass, behind it the one before. Gives the pass of the first of them.
 */
export async function checkImage(
  { store }: SoakWorld,
  ref: string,
  seeds: readonly number[],
): Promise<number> {
  await using snapshot = await store.open(ref)
  const fd = openSync((await flattenSnapshot(snapshot)).path, 'r')
  try {
    const { size } = fstatSync(fd)
    if (size !== memoryPages * pageSizeBytes) throw new Error(`${ref} has ${size} bytes`)
    return checkPages(fd, ref, seeds)
  } finally {
    closeSync(fd)
  }
}

function checkPages(fd: number, ref: string, seeds: readonly number[]): number {
  const found = Buffer.alloc(pageSizeBytes)
  const read = (page: number) => {
    readSync(fd, found, 0, pageSizeBytes, page * pageSizeBytes)
    return decodePageWord(found.readBigUInt64LE()).seed
  }
  const mustBe = (page: number, seed: number, words: 'all' | 'first') => {
    read(page)
    if (!found.equals(pageOf(page, seed, words)))
      throw new Error(`${ref}: page ${page} does not hold what seed ${seed} writes`)
  }
  for (const [index, seed] of seeds.entries()) {
    const { start, count } = blockOf(index)
    for (let page = start; page < start + count; page++) mustBe(page, seed, 'all')
  }
  for (let page = still.start; page < still.start + still.count; page++) mustBe(page, stillSeed, 'first')
  const first = read(passes.start)
  let pass = first
  for (let page = passes.start; page < passes.start + passes.count; page++) {
    if (pass === first && read(page) !== first) pass = first - 1
    mustBe(page, pass, 'first')
  }
  return first
}

/** Has a restored guest check its pages, of which the running pass may have gone on meanwhile. */
export async function checkGuest(
  { machine }: Restored<RunningMachine>,
  seeds: readonly number[],
  pass: number,
  written: number,
): Promise<void> {
  await using console = MicroConsole.attach(machine.paths)
  for (const [index, seed] of seeds.entries()) await console.verify(blockOf(index), seed, { words: 1 })
  await console.verify(blockOf(written % blocks.count), written)
  await console.verify(still, stillSeed, { words: 1 })
  try {
    await console.verify(passes, pass, { words: 1 })
  } catch (error) {
    // It had the command for the next pass already.
    if (!isVarveError(error, 'GUEST_MEMORY')) throw error
    await console.verify(passes, pass + 1, { words: 1 })
  }
}
