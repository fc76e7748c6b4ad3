import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ExplanationRow, findExperiment, readRows, runExperiment, writeReport } from '@varve/lab'
import { expect, test } from 'vitest'

/**
 * Opening the lab, when nothing is cached, and a guest's boot and four restores, emulated on a busy machine.
 */
const timeoutMs = 900_000

test(
  'quick, in small: real functions in restored Linux guests answer right, and their rows come out one by one',
  async () => {
    const directory = mkdtempSync(join(tmpdir(), 'varve-quick-'))
    const seen: string[] = []
    try {
      const found = await findExperiment('quick')
      const { rowsPath } = await runExperiment(found, {
        directory,
        // If Linux guests run natively too: this is the way most people's machines go.
        lab: 'nested',
        rounds: 1,
        only: { function: ['hello'], cache: ['cold', 'warm'], restore: ['warm VM', 'mapped, set alongside'] },
        onMessage: (message) => seen.push(message.kind === 'say' ? message.text : message.cell),
      })
      const rows = await readRows(rowsPath)
      const { header, cells, sets, explanations } = rows
      expect(header.environment).toMatchObject({ lab: 'nested', fileSystem: 'ext4', dropsCache: 'yes' })
      const { accelerator, kvm } = header.environment
      expect(kvm).toMatch(accelerator === 'tcg' ? /^emulated by QEMU \(SVM\)$/ : /^nested \((VMX|SVM)\)$/)
      expect(cells.map(({ cell }) => `${cell.cache}, ${cell.restore}`).sort()).toEqual([
        'cold, mapped, set alongside',
        'cold, vanilla',
        'warm, mapped, set alongside',
        'warm, vanilla',
        'warm, warm VM',
      ])
      for (const { correct, failure, measures } of cells) {
        expect({ correct, failure }).toEqual({ correct: true, failure: undefined })
        const { firstMs = 0, totalMs = 0, privateBytes = 0 } = measures
        expect(firstMs).toBeGreaterThan(0)
        expect(totalMs).toBeGreaterThan(firstMs)
        expect(privateBytes).toBeGreaterThan(2 ** 20)
      }
      const faults = (name: string) =>
        cells.find(({ cell }) => cell.cache === 'warm' && cell.restore === name)?.measures.minorFaults ??
        Number.NaN
      // A VM that has answered before needs hardly a page; a restored one some thousand.
      expect(faults('warm VM')).toBeLessThan(0.5 * faults('vanilla'))
      expect(sets).toHaveLength(1)
      expect(explanations.map(({ name }) => name)).toEqual(sets.map(({ name }) => name))
      const [{ explanation }] = explanations as readonly [ExplanationRow]
      const { owners, pages, unexplainedPages } = explanation
      expect(unexplainedPages / pages).toBeLessThan(0.1)
      const python = owners.filter(({ processes }) => processes.some(({ name }) => name === 'python3'))
      for (const part of ['anonymous', 'heap', 'stack', 'file'])
        expect(python).toContainEqual(expect.objectContaining({ part }))
      expect(owners).toContainEqual(expect.objectContaining({ part: 'kernel', name: 'code' }))
      expect(seen).toContain('hello: recording its working set')
      expect(seen.some((text) => text.startsWith('hello · warm · '))).toBe(true)
      expect(writeReport(rows, directory).summary).toContain('mapped, set alongside')
    } finally {
      rmSync(directory, { recursive: true, force: true })
    }
  },
  timeoutMs,
)
