// `node scripts/bench.mjs kill-points [OPERATION…]`: kills a process at every change on disk that it makes to
// a store or a frame cache, and looks at what is left each time.
//   --every N   each Nth change only
//   --write     the table into docs/results/kill-points.md        --json   the result as JSON
// Exit status 1 if anything was lost.
import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import type { Mutation } from 'varve/testing'
import { inCheckout } from '../common/checkout.js'
import { openScratch, type Scratch } from '../common/scratch.js'
import { checkOrder } from './check-order.js'
import { inspect } from './inspect.js'
import { type KillRow, killPointsPage } from './kill-points-page.js'
import { isOperation, type Operation, operations } from './operations.js'
import { makeTemplate } from './world.js'

const operate = fileURLToPath(new URL('operate.js', import.meta.url))
const run = promisify(execFile)

export async function killPoints(argv: readonly string[]): Promise<number> {
  const { values: options, positionals } = parseArgs({
    args: [...argv],
    options: {
      json: { type: 'boolean' },
      write: { type: 'boolean' },
      every: { type: 'string', default: '1' },
    },
    allowPositionals: true,
  })
  const chosen = positionals.length === 0 ? operations : positionals.filter(isOperation)
  if (chosen.length < positionals.length) throw new Error(`the operations are ${operations.join(', ')}`)
  // In memory if there is such a place: what a killed process leaves is the same
  // there, and syncing costs nothing.
  using scratch = openScratch(existsSync('/dev/shm') ? '/dev/shm' : tmpdir())
  mkdirSync(scratch.path('template'))
  await makeTemplate(scratch.path('template'))

  const rows: KillRow[] = []
  const problems: string[] = []
  const fresh = freshIn(scratch)
  for (const operation of chosen) {
    const killed = await killAtEach(operation, Number(options.every), fresh)
    rows.push(killed.row)
    problems.push(...killed.problems)
    if (!options.json) console.log(`${operation}: killed ${killed.row.points} times`)
  }
  const total = rows.reduce((sum, { points }) => sum + points, 0)
  if (options.json) console.log(JSON.stringify({ total, rows, problems }))
  else console.log(`${total} kill points, ${problems.length} problems`, problems.slice(0, 20).join('\n'))
  if (options.write)
    writeFileSync(inCheckout('docs/results/kill-points.md'), killPointsPage(rows, problems.length))
  return problems.length === 0 ? 0 : 1
}

/** Makes a copy of the template each time. */
function freshIn(scratch: Scratch): () => string {
  let serial = 0
  return () => {
    const directory = scratch.path(`run-${serial++}`)
    cpSync(scratch.path('template'), directory, { recursive: true, preserveTimestamps: true })
    return directory
  }
}

async function killAtEach(
  operation: Operation,
  every: number,
  fresh: () => string,
): Promise<{ readonly row: KillRow; readonly problems: readonly string[] }> {
  const directory = fresh()
  const { stdout } = await run(process.execPath, [operate, operation, directory, '-1'])
  const trace = JSON.parse(stdout) as readonly Mutation[]
  const problems = [
    ...checkOrder(operation, trace, directory),
    ...(await inspect(`${operation}, not killed`, directory, operation)).problems,
  ]
  rmSync(directory, { recursive: true })
  const outcomes = { done: 0, undone: 0 }
  const kinds: Record<string, number> = {}
  // Two at once: one waits for its process to start while the other looks at what is left.
  const points = trace.map((mutation, k) => ({ mutation, k })).filter(({ k }) => k % every === 0)
  await Promise.all(
    [0, 1].map(async (half) => {
      for (const { mutation, k } of points.filter((_, at) => at % 2 === half)) {
        const place = fresh()
        const ended = await endOf(run(process.execPath, [operate, operation, place, String(k)]))
        const what = `${operation}, killed before change ${k} (${mutation.kind} of ${mutation.path.replace(directory, '')})`
        if (ended !== 'SIGKILL') problems.push(`${what}: ${ended}`)
        const found = await inspect(what, place, operation)
        problems.push(...found.problems)
        outcomes[found.done ? 'done' : 'undone']++
        kinds[mutation.kind] = (kinds[mutation.kind] ?? 0) + 1
        rmSync(place, { recursive: true })
      }
    }),
  )
  return { row: { operation, points: points.length, kinds, ...outcomes }, problems }
}

/** The signal that ended a process, or what happened instead. */
async function endOf(process: Promise<unknown>): Promise<string> {
  try {
    await process
    return 'ran through'
  } catch (error) {
    const { signal, code, stderr } = error as { signal?: string; code?: unknown; stderr?: string }
    return signal ?? `exit ${code}: ${stderr}`
  }
}
