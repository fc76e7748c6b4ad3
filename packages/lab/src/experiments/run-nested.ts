import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { extname, join } from 'node:path'
import { VarveError } from 'varve'
import { openNestedLab } from '../nested/open-lab.js'
import type { FoundExperiment } from './find-experiment.js'
import type { RunCellsOptions, RunMessage } from './run-cells.js'

/** A whole experiment, emulated. */
const runTimeoutMs = 24 * 3_600_000

/**
 * Runs in the nested lab what is not done yet. Rows come out one by one as lines on its script's standard
 * output, so that a run that is cut off has lost the cell it was at and no other.
 */
export async function runInNestedLab(
  { experiment, file }: FoundExperiment,
  { emit, signal, done, rounds, only }: Omit<RunCellsOptions, 'lab'>,
): Promise<void> {
  const say = (text: string) => void emit({ kind: 'say', text })
  const stop = new AbortController()
  await using lab = await openNestedLab({ signal, onProgress: say })
  const folder = mkdtempSync(join(tmpdir(), 'varve-experiment-'))
  try {
    const job = join(folder, 'job.json')
    writeFileSync(job, JSON.stringify({ rounds, only, done: [...done], accelerator: lab.accelerator }), {
      mode: 0o600,
    })
    // The experiments that come with the lab are on its project disk; another's file is sent along.
    const name = `experiment${file === undefined ? '' : extname(file)}`
    const load =
      file === undefined
        ? `await findExperiment(${JSON.stringify(experiment.name)})`
        : `await loadExperimentFile(process.cwd() + '/${name}')`
    let failure: unknown
    let receiving = Promise.resolve()
    const lines = new Lines((line) => {
      receiving = receiving.then(() => emit(JSON.parse(line) as RunMessage))
      // Rows of another environment are there, or the disk is full: measure nothing more.
      receiving.catch((error: unknown) => {
        failure ??= error
        stop.abort(error)
      })
    })
    const run = lab.run({
      script: { code: script(load) },
      files: { 'job.json': job, ...(file === undefined ? {} : { [name]: file }) },
      timeoutMs: runTimeoutMs,
      signal: AbortSignal.any([signal, stop.signal]),
      onOutput: (text, stream) => {
        if (stream === 'stdout') lines.push(text)
        else say(text.trimEnd())
      },
    })
    const { exitCode, stderr } = await run.catch((error: unknown) => {
      throw failure ?? error
    })
    await receiving
    if (exitCode !== 0)
      throw new VarveError(
        'LAB_FAILED',
        `experiment ${experiment.name} failed in the nested lab: ${stderr.slice(-2000)}`,
      )
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Cuts a stream of text into its lines. */
class Lines {
  readonly #take: (line: string) => void
  #rest = ''

  constructor(take: (line: string) => void) {
    this.#take = take
  }

  push(text: string): void {
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) this.#take(line)
  }
}

/** Everything but ASCII is escaped: pieces of output are cut anywhere, also within a character. */
const script = (load: string) => `
import { readFileSync, writeSync } from 'node:fs'
import { findExperiment, loadExperimentFile, runCells } from '@varve/lab'
// Emulated, a page server takes ten seconds to start.
process.env.VARVE_PAGE_SERVER_LINGER_MS = '600000'
const { rounds, only, done, accelerator } = JSON.parse(readFileSync('job.json', 'utf8'))
const { experiment } = ${load}
const ascii = (text) => text.replace(/[^\\0-\\x7f]/g, (it) => '\\\\u' + it.charCodeAt(0).toString(16).padStart(4, '0'))
const write = (bytes) => { for (let sent = 0; sent < bytes.length; ) {
  try { sent += writeSync(1, bytes, sent) } catch (error) { if (error.code !== 'EAGAIN') throw error }
} }
await runCells(experiment, {
  rounds,
  only,
  done: new Set(done),
  lab: { kind: 'nested', accelerator },
  signal: new AbortController().signal,
  emit: async (message) => write(Buffer.from(ascii(JSON.stringify(message)) + '\\n', 'latin1')),
})
`
