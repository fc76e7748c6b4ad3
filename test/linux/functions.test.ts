import { fileURLToPath } from 'node:url'
import { linuxGuest, openNestedLab } from '@varve/lab'
import { expect, test } from 'vitest'

/**
 * All ten answer right under the guest's Python in agent.test.ts; here a few do so in
 * guests, before and after restores.
 */
const names = ['hello', 'matmul']
/** Each restore of its own takes some 10 s, emulated. */
const measured = ['matmul']
const memoryMib = 256
const agentCommand = ['/bin/sh', '-c', `echo "it's mine" >/run/mine; exec python3 -S -B /run/varve/agent.py`]

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
    readonly firstAnswerMs: number
    readonly totalMs: number
  }[]
  readonly clone: {
    readonly fixed: unknown
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
    const { initrd } = await linuxGuest({ agentCommand })
    const { exitCode, stderr, result } = await lab.run({
      script: fileURLToPath(new URL('../nested-lab/linux-functions.mjs', import.meta.url)),
      args: [JSON.stringify({ names, measured, memoryMib, inputs: ['b'], engine: 'file' })],
      files: { 'initramfs.cpio': initrd },
      timeoutMs: runTimeoutMs,
    })
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
    const { started, memory, rows, clone, machinesLeft } = result as FunctionsResult
    expect(started.map(({ name }) => name)).toEqual(names)
    expect(memory.functions.map(({ name }) => name)).toEqual(names)
    expect(memory.meminfoKib.MemTotal).toBeLessThan(memoryMib * 1024)
    for (const { residentKib } of memory.functions) expect(residentKib).toBeGreaterThan(4096)
    expect(rows.map((row) => [row.function, row.fault])).toEqual(measured.map((name) => [name, null]))
    for (const { present, written, guestMs, handlerMs, firstAnswerMs, totalMs } of rows) {
      expect(written).toBeGreaterThan(0)
      expect(present).toBeGreaterThan(written)
      expect(present).toBeLessThan((memoryMib * 1024) / 4)
      expect(handlerMs).toBeLessThanOrEqual(guestMs)
      expect(firstAnswerMs).toBeLessThan(totalMs)
    }
    expect(clone.fixed).toEqual({ done: ['clock', 'hostname', 'entropy'], clockWasMs: expect.any(Number) })
    expect(clone.says).toMatch(/^clone-1\n2031-02-03T04:0[5-9]\nit's mine\n$/)
    expect(clone.faults).toEqual(names.map(() => null))
    // They were started once, in the guest that all are clones of.
    const others = [...names.map((name) => ({ name, running: true })), { name: 'who', running: true }]
    expect(clone.running).toEqual(others)
    expect(machinesLeft).toBe(0)
  },
  openTimeoutMs + runTimeoutMs,
)
