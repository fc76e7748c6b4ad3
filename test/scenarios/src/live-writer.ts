import assert from 'node:assert/strict'
import { closeSync, openSync, readSync } from 'node:fs'
import { decodePageWord, type TouchPattern } from '@varve/lab'
import type { MicroVm } from '@varve/lab/testing'
import { flattenSnapshot } from 'varve'
import type { ScenarioContext } from './runner/scenario.js'

const pageBytes = 4096
/**
 * Ascending: at each moment the pages up to one place have the present pass, those behind it the one before.
 */
export const pages: TouchPattern = { start: 1024, count: 12_000 }

/** Of the writer: a restored guest has passes of an earlier one. */
const firstPass = 1000

/** A guest that writes the number of its pass into all pages, one after another, without a pause. */
export class Writer implements AsyncDisposable {
  readonly #vm: MicroVm
  readonly #passes: Promise<number>
  #stop = false

  constructor(vm: MicroVm) {
    this.#vm = vm
    this.#passes = this.#write()
    this.#passes.catch(() => {})
  }

  async #write(): Promise<number> {
    let pass = firstPass
    while (!this.#stop) await this.#vm.console.write(pages, pass++)
    return pass - firstPass
  }

  /** Gives how many passes it made. */
  end(): Promise<number> {
    this.#stop = true
    return this.#passes
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end()
  }
}

/** The pass that each page of the image has, in the order in which they are written. */
export async function passesOf(context: ScenarioContext, ref: string): Promise<number[]> {
  await using snapshot = await context.store.open(ref)
  const { path } = await flattenSnapshot(snapshot)
  const fd = openSync(path, 'r')
  try {
    const word = Buffer.alloc(8)
    return Array.from({ length: pages.count }, (_, index) => {
      const page = pages.start + index
      readSync(fd, word, 0, 8, page * pageBytes)
      const found = decodePageWord(word.readBigUInt64LE())
      assert.ok(word.readBigUInt64LE() === 0n || found.page === page, `page ${page} holds page ${found.page}`)
      return found.seed
    })
  } finally {
    closeSync(fd)
  }
}

/** Gives the place of the step from one pass to the one before. */
export function oneInstant(passes: readonly number[], ref: string): number {
  const steps = passes.flatMap((pass, index) => (index > 0 && pass !== passes[index - 1] ? [index] : []))
  assert.ok(steps.length <= 1, `${ref} is not of one instant: passes change at ${steps.join(', ')}`)
  const step = steps[0] ?? 0
  const before = passes[step - 1]
  if (step > 0 && before !== firstPass) assert.equal(before, (passes[step] as number) + 1, ref)
  return step
}
