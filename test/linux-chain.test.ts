import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { emptyExt4Image, openNestedLab } from '@varve/lab'
import { expect, test } from 'vitest'

/** Fetching packages and building images, when nothing is cached. */
const openTimeoutMs = 600_000
const runTimeoutMs = 240_000

interface LinuxChain {
  readonly captured: readonly { tag: string; type: string; layers: number }[]
  readonly expected: Readonly<Record<string, string>>
  readonly restores: readonly { tag: string; engine: string; state: string; own: boolean }[]
  readonly clones: readonly string[]
  readonly blobsIntact: boolean
  readonly fsck: readonly unknown[]
  readonly machinesLeft: number
}

test(
  'a Linux guest with a disk: three snapshots in a chain, each comes back with the files and the memory it had',
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'varve-chain-'))
    try {
      const disk = join(folder, 'data.ext4')
      await emptyExt4Image(disk, 8)
      await using lab = await openNestedLab()
      const { exitCode, stderr, result } = await lab.run({
        script: fileURLToPath(new URL('nested-lab/linux-chain.mjs', import.meta.url)),
        files: { 'data.ext4': disk },
        timeoutMs: runTimeoutMs,
      })
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
      const { captured, expected, restores, clones, blobsIntact, fsck, machinesLeft } = result as LinuxChain
      expect(captured.map(({ tag, type, layers }) => ({ tag, type, layers }))).toEqual([
        // The base of a VM that was tracked since its boot is a Diff too.
        { tag: 'base', type: 'Diff', layers: 1 },
        { tag: 'one', type: 'Diff', layers: 2 },
        { tag: 'two', type: 'Diff', layers: 3 },
      ])
      const state = (files: Record<string, string>) =>
        [
          ...Object.entries(files).map(([name, content]) => `${name} ${content}`),
          ...Object.entries(files).map(([name, content]) => `${name}.memory ${content}`),
          '',
        ].join('\n')
      const told: Readonly<Record<string, string>> = {
        base: state({ 'first.txt': 'one' }),
        one: state({ 'first.txt': 'one', 'second.txt': 'two' }),
        two: state({ 'first.txt': 'changed', 'third.txt': 'three' }),
      }
      expect(expected).toEqual(told)
      expect(restores).toHaveLength(6)
      for (const { tag, state: found, own } of restores) {
        expect(found).toBe(told[tag])
        expect(own).toBe(true)
      }
      expect(clones).toEqual(['clone-0', 'clone-1'])
      expect({ blobsIntact, fsck, machinesLeft }).toEqual({ blobsIntact: true, fsck: [], machinesLeft: 0 })
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  },
  openTimeoutMs + runTimeoutMs,
)
