import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { listMachines } from 'varve'
import { expect, test } from 'vitest'

const script = join(import.meta.dirname, '../support/name-race.mjs')

test('no process that ends a dead machine removes the next one of that name, and no listing fails', async () => {
  const runtime = mkdtempSync(join(tmpdir(), 'varve-names-'))
  try {
    const runs = await Promise.all(
      Array.from({ length: 4 }, async () => {
        const child = spawn(process.execPath, [script, runtime, '3000'], {
          stdio: ['ignore', 'pipe', 'inherit'],
        })
        const [said] = await Promise.all([text(child.stdout), once(child, 'exit')])
        return JSON.parse(said) as { had: number; lost: number }
      }),
    )
    expect(runs.reduce((sum, { had }) => sum + had, 0)).toBeGreaterThan(10)
    expect(runs.map(({ lost }) => lost)).toEqual([0, 0, 0, 0])
    expect(listMachines(runtime)).toEqual([])
    expect(readdirSync(join(runtime, 'machines'))).toEqual([])
  } finally {
    rmSync(runtime, { recursive: true, force: true })
  }
})
