import { parseArgs } from 'node:util'
import { VarveError } from 'varve'
import { findScenarios, scenarioList } from '../runner/find-scenarios.js'
import { findBinaries, type MatrixBinary } from './find-binaries.js'
import { type Matrix, renderMatrix } from './render-matrix.js'
import { type MatrixCell, runCell } from './run-cell.js'

const help = `usage: npm run matrix -- [--scenario NAME]… [--limit SECONDS] [--json] [FIRECRACKER…]

Runs every scenario, or those named, on this host's KVM with each Firecracker, and prints a table.
FIRECRACKER is a binary, or a folder. In a folder and its subfolders, binaries are named firecracker, or as in a
release, firecracker-v1.16.1-x86_64; those that another user may write to are left out. Without FIRECRACKER: those in
$VARVE_FIRECRACKER_DIR, and the one that Varve would use.

  --scenario NAME   only this one; may be given several times
  --limit SECONDS   time limit of one scenario on one binary; beyond it, it fails (default 600)
  --json            the table and what each scenario found, as JSON
  --list            the scenarios

A cell is ok, FAILED, or n/a: the scenario does not apply to that version; a line below the table says why.
Exit status: 0 none failed, 2 usage, 3 no Firecracker, 5 one failed, 130 interrupted (the results so far are printed).`

const defaultLimitSeconds = 600

/** Gives the exit status. */
export async function runMatrix(argv: readonly string[]): Promise<number> {
  const { values, positionals } = parse(argv)
  if (values.help === true || values.list === true) {
    process.stdout.write(`${values.list === true ? scenarioList() : help}\n`)
    return 0
  }
  const limitMs = limitIn(values.limit) * 1000
  const scenarios = findScenarios(values.scenario ?? [])
  const binaries = await findBinaries(positionals)
  const rows = scenarios.map(({ name }) => ({
    scenario: name,
    cells: binaries.map((): MatrixCell | undefined => undefined),
  }))
  const signal = endOnSignals()
  // Binary by binary: each meets the host's page cache as the last one left it either way, and a broken one
  // shows at once.
  for (const [column, binary] of binaries.entries())
    for (const row of rows) {
      if (signal.aborted) break
      const cell = await cellOf(row.scenario, binary, { limitMs, signal })
      if (signal.aborted) break
      row.cells[column] = cell
      process.stderr.write(`${binary.label}  ${row.scenario}: ${cell.status}, ${Math.round(cell.ms)} ms\n`)
    }
  const matrix: Matrix = { binaries, rows }
  process.stdout.write(values.json === true ? `${JSON.stringify(matrix, null, 2)}\n` : renderMatrix(matrix))
  if (signal.aborted) return 130
  return rows.every(({ cells }) => cells.every((cell) => cell?.status !== 'failed')) ? 0 : 5
}

async function cellOf(
  scenario: string,
  { path, problem }: MatrixBinary,
  options: Parameters<typeof runCell>[2],
): Promise<MatrixCell> {
  if (problem !== null) return { status: 'failed', ms: 0, reason: problem, facts: null }
  return runCell(scenario, path, options)
}

/** The first one ends what runs, in order; a second one ends this process. */
function endOnSignals(): AbortSignal {
  const stop = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => stop.abort())
  return stop.signal
}

function limitIn(text: string | undefined): number {
  const seconds = Number(text ?? defaultLimitSeconds)
  if (Number.isFinite(seconds) && seconds >= 1 && seconds <= 86_400) return seconds
  throw new VarveError('USAGE', `--limit is ${text}; seconds from 1 to 86400`)
}

function parse(argv: readonly string[]) {
  try {
    return parseArgs({
      args: [...argv],
      allowPositionals: true,
      options: {
        scenario: { type: 'string', multiple: true },
        limit: { type: 'string' },
        json: { type: 'boolean' },
        list: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    })
  } catch (error) {
    throw new VarveError('USAGE', (error as Error).message, { cause: error, remedy: 'see --help' })
  }
}
