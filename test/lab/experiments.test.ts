import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { readRows } from '@varve/lab'
import { listMachines } from 'varve'
import { describe, expect, test } from 'vitest'
import { startVarve, varve } from '../support/cli.js'
import { microWorldOfFile } from '../support/micro-world.js'

const cold = fileURLToPath(new URL('../support/cold.experiment.mjs', import.meta.url))
const boots = fileURLToPath(new URL('../support/boots.experiment.mjs', import.meta.url))

const world = microWorldOfFile()

const lines = (path: string) => (existsSync(path) ? readFileSync(path, 'utf8').split('\n').length - 1 : 0)

describe('an experiment of one’s own', () => {
  test('that is interrupted cleans up, and goes on where it ended', async () => {
    const out = join(world.directory, 'boots')
    const rowsPath = join(out, 'rows.jsonl')
    const scratch = join(world.directory, 'scratch')
    mkdirSync(scratch)
    process.env.TMPDIR = scratch
    const run = startVarve(world, 'lab', 'run', boots, '--out', out, '--rounds', '200')
    while (lines(rowsPath) < 4) await sleep(5)
    run.child.kill('SIGINT')
    const { status, stdout } = await run.result
    expect({ status, stdout }).toEqual({ status: 130, stdout: '' })
    delete process.env.TMPDIR
    expect(listMachines(world.runtimeDirectory)).toEqual([])
    expect(readdirSync(scratch)).toEqual([])
    const kept = (await readRows(rowsPath)).cells
    expect(kept.length).toBeGreaterThan(2)
    expect(kept.length).toBeLessThan(400)

    const rounds = Math.ceil(kept.length / 2) + 1
    const again = await varve(world, 'lab', 'run', boots, '--out', out, '--rounds', String(rounds), '--json')
    expect(again.json()).toMatchObject({ experiment: 'boots', lab: 'native', wrong: 0, cells: 2 * rounds })
    const { cells, header } = await readRows(rowsPath)
    expect(cells.slice(0, kept.length)).toEqual(kept)
    const keys = cells.map(({ round, cell }) => `${round} ${cell.memoryMib}`)
    expect(new Set(keys).size).toBe(2 * rounds)
    expect(cells.every(({ measures, correct }) => correct && (measures.bootMs ?? 0) > 0)).toBe(true)
    expect(header.environment).toMatchObject({ lab: 'native', node: process.versions.node })
    expect(readFileSync(again.json().report, 'utf8')).toContain('Does a larger guest take longer to boot?')
    expect(readFileSync(again.json().csv, 'utf8').split('\r\n')).toHaveLength(2 * rounds + 2)

    // Another plan is another file.
    process.env.BOOTS_LARGE = '1'
    const other = await varve(world, 'lab', 'run', boots, '--out', out)
    delete process.env.BOOTS_LARGE
    expect(other.status).toBe(2)
    expect(other.stderr).toContain('whose plan')
    expect((await readRows(rowsPath)).cells).toEqual(cells)
  })

  test('of three rounds shows no difference, whatever they took', async () => {
    const out = join(world.directory, 'three')
    const run = await varve(world, 'lab', 'run', boots, '--out', out, '--rounds', '3')
    expect(run.stdout).toMatch(/^ {2}128 +[\d.]+ ms {2}[\d.]+× \([\d.]+–[\d.]+\)$/m)
    expect(run.stdout).toMatch(/no verdict: 3 rounds, it needs 6|nothing has a lower median/)
    const report = readFileSync(join(out, 'report.html'), 'utf8')
    expect(report).toContain('No ratio has the 6 rounds that a verdict needs.')
    expect(report).not.toMatch(/class="ratio (good|bad)"/)
  })

  test('that is to be cold where files stay in memory fails as not cold, and says so before', async () => {
    const on = async (parent: string, out: string) => {
      process.env.TMPDIR = parent
      const run = await varve(world, 'lab', 'run', cold, '--out', join(world.directory, out), '--json')
      delete process.env.TMPDIR
      const { header, cells } = await readRows(join(world.directory, out, 'rows.jsonl'))
      return { run, environment: header.environment, cells }
    }
    const disk = await on('/var/tmp', 'cold-on-disk')
    expect(disk.cells).toMatchObject([{ correct: true }])
    expect(disk.environment.dropsCache).toBe('yes')
    const memory = await on('/dev/shm', 'cold-in-memory')
    expect(memory.run.status).not.toBe(0)
    expect(memory.run.stderr).toContain('/dev/shm is on tmpfs: its files stay in the page cache')
    expect(memory.environment).toMatchObject({ fileSystem: 'tmpfs', dropsCache: 'no' })
    expect(memory.cells).toMatchObject([
      { correct: false, measures: {}, failure: expect.stringContaining('not cold: 10 of 10 pages') },
    ])
    // The rows of one disk do not go on with those of another.
    process.env.TMPDIR = '/dev/shm'
    const mixed = await varve(
      world,
      'lab',
      'run',
      cold,
      '--out',
      join(world.directory, 'cold-on-disk'),
      '--rounds',
      '2',
    )
    delete process.env.TMPDIR
    expect(mixed.status).toBe(2)
    expect(mixed.stderr).toMatch(/another environment: fileSystem \(\w+ there, tmpfs here\)/)
  })

  test('is found by its path, and what is none is refused', async () => {
    const missing = await varve(world, 'lab', 'run', 'nothing')
    expect(missing.status).toBe(6)
    expect(missing.stderr).toMatch(/no experiment is named "nothing"[\s\S]*one of .*micro/)
    const path = world.path('none.mjs')
    writeFileSync(path, 'export const experiment = { name: "half" }\n')
    const none = await varve(world, 'lab', 'run', path)
    expect(none.status).toBe(2)
    expect(none.stderr).toContain('none.mjs does not export an experiment')
    writeFileSync(path, 'export const = 1\n')
    expect((await varve(world, 'lab', 'run', path)).stderr).toContain('cannot load')
  })
})

test('micro: each engine’s guest answers right, and the counters tell how its pages came', async () => {
  const out = join(world.directory, 'micro')
  const only = [
    'memoryMib=512',
    'setMib=8',
    'clones=1',
    'cache=warm',
    'restore=warm VM,file,paged,mapped, set before',
  ]
  const args = [...only.flatMap((it) => ['--only', it]), '--rounds', '1', '--out', out]
  const run = await varve(world, 'lab', 'run', 'micro', ...args, '--json')
  expect(run.stderr).not.toContain('[')
  expect(run.json()).toMatchObject({ experiment: 'micro', lab: 'native', cells: 5, wrong: 0 })
  const { cells, sets } = await readRows(run.json().rows)
  const of = (name: string) => {
    const row = cells.find(({ cell }) => cell.restore === name)
    expect(row, name).toMatchObject({ correct: true, round: 1 })
    return row?.measures as Record<string, number>
  }
  const touched = Math.floor((8 * 256) / 5) * 5
  for (const name of ['vanilla', 'file', 'paged', 'mapped, set before']) {
    const { restoredMs = 0, firstMs = 0, totalMs = 0 } = of(name)
    expect(restoredMs).toBeGreaterThan(0)
    expect(firstMs).toBeGreaterThan(restoredMs)
    expect(totalMs).toBeGreaterThan(firstMs)
  }
  expect(of('warm VM').restoredMs).toBeUndefined()
  // A warm VM has all pages; a fresh one gets them by faults, of one kind or the other.
  expect(of('warm VM').minorFaults).toBeLessThan(0.1 * touched)
  expect(of('paged').uffdFaults).toBeGreaterThan(100)
  expect(of('vanilla').uffdFaults).toBeUndefined()
  // Its own copies are what it wrote, and some of its own; the rest are pages of the file.
  expect(of('vanilla').privateBytes).toBeLessThan(6 * 2 ** 20)
  expect(of('vanilla').fileBytes).toBeGreaterThan(0.7 * touched * 4096)
  expect(of('mapped, set before').setReadOnlyPages).toBeGreaterThanOrEqual(0.8 * touched)
  expect(sets.map(({ name }) => name)).toEqual(['512 MiB guest, 8 MiB'])
  const told = await varve(world, 'lab', 'report', out)
  expect(told.status).toBe(0)
  expect(told.stdout).toMatch(/^ {2}mapped, set before +[\d.]+ ms {2}[\d.]+×/m)
})

test('varve lab ls names the experiments with their number of cells', async () => {
  const { experiments } = (await varve(world, 'lab', 'ls', '--json')).json()
  expect(experiments).toContainEqual(expect.objectContaining({ name: 'micro', guest: 'micro', cells: 199 }))
  for (const { question } of experiments) expect(question).toMatch(/\?$/)
})

test('bench is micro, in a short form where that is asked for', async () => {
  const out = join(world.directory, 'bench')
  const only = ['--only', 'cache=warm', '--only', 'restore=vanilla']
  const { status, json } = await varve(
    world,
    'bench',
    '--quick',
    '--rounds',
    '1',
    ...only,
    '--out',
    out,
    '--json',
  )
  expect(status).toBe(0)
  expect(json()).toMatchObject({ experiment: 'micro', cells: 1, wrong: 0 })
  const { cells } = await readRows(join(out, 'rows.jsonl'))
  expect(cells.map(({ cell }) => cell)).toEqual([
    { memoryMib: 512, setMib: 24, cache: 'warm', clones: 1, depth: 3, restore: 'vanilla' },
  ])
  expect((await varve(world, 'bench', 'more')).status).toBe(2)
})
