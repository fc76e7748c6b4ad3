import { fileURLToPath } from 'node:url'
import { openNestedLab } from '@varve/lab'
import { expect, test } from 'vitest'

/**
 * All ten answer right under the guest's Python in test/lab/functions.test.ts; here a few do so in guests,
 * before and after restores.
 */
const names = ['hello', 'matmul']
/** Each restore of its own takes some 10 s, emulated. */
const measured = ['matmul']
const memoryMib = 256

/** Fetching packages and building images, when nothing is cached. */
const openTimeoutMs = 600_000
const runTimeoutMs = 300_000

interface FunctionsResult {
  readonly started: readonly { readonly name: string; readonly startMs: number; readonly warmMs: number }[]
  readonly memory: {
    readonly meminfoKib: Readonly<Record<string, number>>
    readonly functions: readonly { readonly name: string; readonly residentKib: number }[]
  }
  readonly rows: readonly {
    readonly function: string
    readonly fault: string | null
    readonly present: number
    readonly written: number
    readonly guestMs: number
    readonly handlerMs: number
  }[]
  readonly clone: {
    readonly says: string
    readonly faults: readonly (string | null)[]
    readonly running: readonly unknown[]
  }
  readonly machinesLeft: number
}

test(
  'functions put into a guest and warmed answer right there and, with no further ado, in clones of it',
  async () => {
    await using lab = await openNestedLab()
    const { exitCode, stderr, result } = await lab.run({
      script: fileURLToPath(new URL('../nested-lab/linux-functions.mjs', import.meta.url)),
      args: [JSON.stringify({ names, measured, memoryMib, inputs: ['b'], engine: 'file' })],
      timeoutMs: runTimeoutMs,
    })
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
    const { started, memory, rows, clone, machinesLeft } = result as FunctionsResult
    expect(started.map(({ name }) => name)).toEqual(names)
    expect(memory.functions.map(({ name }) => name)).toEqual(names)
    expect(memory.meminfoKib.MemTotal).toBeLessThan(memoryMib * 1024)
    for (const { residentKib } of memory.functions) expect(residentKib).toBeGreaterThan(4096)
    expect(rows.map((row) => [row.function, row.fault])).toEqual(measured.map((name) => [name, null]))
    for (const { present, written, guestMs, handlerMs } of rows) {
      expect(written).toBeGreaterThan(0)
      expect(present).toBeGreaterThan(written)
      expect(present).toBeLessThan((memoryMib * 1024) / 4)
      expect(handlerMs).toBeLessThanOrEqual(guestMs)
    }
    expect(clone.says).toBe('clone-1\n')
    expect(clone.faults).toEqual(names.map(() => null))
    // They were started once, in the guest that all are clones of.
    expect(clone.running).toEqual(names.map((name) => ({ name, running: true })))
    expect(machinesLeft).toBe(0)
  },
  openTimeoutMs + runTimeoutMs,
)
