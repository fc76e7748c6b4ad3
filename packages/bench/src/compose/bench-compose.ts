// `npm run bench:compose`: flatten, squash and pack of a base with three diffs, against a loop that copies
// page by page and against cp(1) of the finished flat image, on the file system of the temporary directory
// and, as root, on a reflink XFS.
//   --quick         256 MiB and 3 rounds in place of 2 GiB and 7
//   --rounds N
//   --rows FILE     raw rows as JSON lines (default: standard output)
//   --write         raw rows into docs/results
// A Markdown table goes to standard error. Everything is warm in the page cache. It needs about 8 GB of disk.
import { mkdirSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { bringIntoCache, openReflinkFileSystem } from '@varve/lab'
import { isVarveError } from 'varve'
import { composeExtentMap, flatten } from 'varve/layers'
import { turned } from '../common/numbers.js'
import { resultOptions, say, writeResults } from '../common/results.js'
import { openScratch } from '../common/scratch.js'
import { statusOf, stopOnSignals } from '../common/stop.js'
import { type ComposeRow, composeTable } from './compose-table.js'
import { contendersIn } from './contenders.js'
import { baseLayer, diffsOver } from './layers.js'

const mib = 2 ** 20

export async function benchCompose(argv: readonly string[]): Promise<number> {
  const { values: options } = parseArgs({
    args: [...argv],
    options: { quick: { type: 'boolean' }, rounds: { type: 'string' }, ...resultOptions },
  })
  const quick = options.quick === true
  const pages = ((quick ? 256 : 2048) * mib) / 4096
  const rounds = Number(options.rounds ?? (quick ? 3 : 7))
  const signal = stopOnSignals()
  using scratch = openScratch(tmpdir())
  const rows: ComposeRow[] = []
  const told = (row: ComposeRow) => {
    rows.push(row)
    if (options.rows === undefined) process.stdout.write(`${JSON.stringify(row)}\n`)
  }
  const setting = { pages, rounds, signal, told }
  const work = async () => {
    const plain = scratch.path('plain')
    mkdirSync(plain)
    await measure({ ...setting, fileSystem: fileSystemOf(plain), where: plain, reflinks: false })
    rmSync(plain, { recursive: true })
    try {
      const sizeBytes = (quick ? 2048 : 8192) * mib
      await using mounted = await openReflinkFileSystem(scratch.directory, sizeBytes, {
        filled: true,
        onProgress: say,
      })
      await measure({
        ...setting,
        fileSystem: 'xfs, reflink, loop device',
        where: mounted.path,
        reflinks: true,
      })
    } catch (error) {
      if (!isVarveError(error, 'HOST_UNSUPPORTED')) throw error
      say(`NOT MEASURED on a reflink file system: ${error.message}`)
    }
    process.stderr.write(`${composeTable(rows, { pages, rounds })}\n`)
  }
  try {
    return await statusOf(signal, work)
  } finally {
    writeResults({ name: 'compose', rows }, options)
  }
}

interface Setting {
  readonly fileSystem: string
  readonly where: string
  readonly reflinks: boolean
  readonly pages: number
  readonly rounds: number
  readonly signal: AbortSignal
  told(row: ComposeRow): void
}

/**
 * One file system: makes the layers, then every contender once a round, each
 * round beginning with another one.
 */
async function measure({ fileSystem, where, reflinks, pages, rounds, signal, told }: Setting): Promise<void> {
  say(`${fileSystem}: making layers`)
  const path = (name: string) => `${where}/${name}`
  const base = await baseLayer(path('base'), pages, signal)
  const over = { path, base, pages, signal }
  const runs = [base, ...(await diffsOver({ ...over, name: 'runs', longest: 15 }))]
  const splinters = [base, ...(await diffsOver({ ...over, name: 'splinters', longest: 2 }))]
  const chain = { map: composeExtentMap(runs.map(({ index }) => index)), files: runs }
  const splintered = { map: composeExtentMap(splinters.map(({ index }) => index)), files: splinters }
  const flat = path('flat')
  const setUp = await flatten(chain, flat, { signal })
  bringIntoCache([...runs, ...splinters, { path: flat }].map((file) => file.path))
  say(
    `${fileSystem}: ${chain.map.starts.length} runs in the image of runs, ${splintered.map.starts.length} in that of splinters, copied by ${setUp.method}`,
  )
  const out = path('out')
  const contenders = contendersIn({ base, runs, chain, splintered, flat, out, reflinks, signal })
  for (let round = 0; round < rounds; round++) {
    say(`${fileSystem}: round ${round + 1} of ${rounds}`)
    for (const contender of turned(contenders, round)) {
      signal.throwIfAborted()
      const measured = await contender.run()
      if (round === 0) await contender.check?.()
      told({ fileSystem, contender: contender.name, round: round + 1, ...measured })
      rmSync(out)
      await calm(where)
    }
  }
}

/** XFS frees a removed file's extents in the background; the next contender must not pay for that. */
async function calm(where: string): Promise<void> {
  const free = () => statfsSync(where).bfree
  for (let before = -1; before !== free(); ) {
    before = free()
    await sleep(100)
  }
}

function fileSystemOf(path: string): string {
  const names: Readonly<Record<number, string>> = {
    61267: 'ext4',
    1481003842: 'xfs',
    16914836: 'tmpfs',
    2435016766: 'btrfs',
  }
  const { type } = statfsSync(path)
  return names[type] ?? `0x${type.toString(16)}`
}
