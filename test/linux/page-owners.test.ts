import { fileURLToPath } from 'node:url'
import type { Explanation } from '@varve/guest'
import { openNestedLab } from '@varve/lab'
import { expect, test } from 'vitest'

/** Fetching packages and building images, when nothing is cached. */
const openTimeoutMs = 600_000
const runTimeoutMs = 600_000

interface OwnersResult {
  readonly now: Explanation
  readonly touched: Explanation
  readonly captured: Explanation
  /** As the command prints it. */
  readonly ofMachine: string
  readonly stillAnswers: string
  readonly svg: string
  readonly askedMs: number
  readonly machinesLeft: number
}

const script = (name: string) => fileURLToPath(new URL(`../nested-lab/${name}`, import.meta.url))
/** Of 2,048 pages, each process writes every second, or every eighth. */
const known = { 'keeper-a': 1024, 'keeper-b': 256 }
/** What Python itself writes at a time. */
const ownPages = 600

test(
  'known pages of known processes of a Linux guest are theirs: in the machine that works, and in a clone of its snapshot',
  async () => {
    await using lab = await openNestedLab()
    const { exitCode, stderr, stdout, result } = await lab.run({
      script: script('linux-page-owners.mjs'),
      files: { 'known-pages.py': script('known-pages.py') },
      timeoutMs: runTimeoutMs,
    })
    console.log(stdout)
    expect({ exitCode, stderr }, stdout).toEqual({ exitCode: 0, stderr: '' })
    const { now, touched, captured, ofMachine, stillAnswers, svg, machinesLeft } = result as OwnersResult
    for (const explanation of [now, touched, captured]) {
      const { owners, pages, unexplainedPages, hasFrameFlags } = explanation
      expect(hasFrameFlags).toBe(true)
      for (const [name, written] of Object.entries(known)) {
        const its = owners.filter(({ processes }) => processes.length === 1 && processes[0]?.name === name)
        const shared = its.find((it) => it.part === 'file' && it.name === `/run/${name}`)
        expect(shared?.writtenPages).toBe(written)
        const own = its.find((it) => it.part === 'anonymous' && it.name === '')
        expect(own?.writtenPages).toBeGreaterThanOrEqual(written)
        expect(own?.writtenPages).toBeLessThan(written + ownPages)
      }
      // The interpreter is one program for both.
      const python = owners.find(
        (it) => it.part === 'file' && /python3/.test(it.name) && it.processes.length > 1,
      )
      expect(python?.processes.map(({ name }) => name)).toEqual(expect.arrayContaining(Object.keys(known)))
      for (const name of ['code', 'data', 'slab', 'page tables'])
        expect(owners).toContainEqual(expect.objectContaining({ part: 'kernel', name }))
      console.log(`${unexplainedPages} of ${pages} pages unexplained`)
      expect(unexplainedPages / pages).toBeLessThan(0.1)
    }
    const lines = ofMachine.split('\n')
    expect(lines[0]).toMatch(new RegExp(`^${now.pages} pages, .* written; \\d+\\.\\d % unexplained$`))
    for (const [name, written] of Object.entries(known)) {
      const line = lines.find((it) => it.includes(`/run/${name} `)) ?? ''
      // Share, pages, size, written, kind, name, processes.
      expect(line).toMatch(
        new RegExp(`^ *[\\d.]+ % +\\d+ +[\\d.]+ \\w+ +${written} +file +/run/${name} +${name} \\(\\d+\\)$`),
      )
    }
    expect(stillAnswers).toBe('yes\n')
    expect(svg).toContain('keeper-a (')
    expect(machinesLeft).toBe(0)
  },
  openTimeoutMs + runTimeoutMs,
)
