// `npm run bench:faults`: the page server against handlers in plain C (programs/*.c,
// compiled here), with a client in C.
//   on demand  single-page faults in random order: `example` is written like Firecracker's example handler,
//              `tight` is the least that a handler can do
//   sparse     the same with each 13th page only, ascending: neighbours are of no use; `second VM`: by a page
//              server that has served a client before, whose code is compiled
//   bulk       everything installed by large calls from the handshake on: from a mapped file in the page
//              cache, and read past the cache
// Client and server share one CPU, or each has its own; unpinned runs are bimodal.
// Interleaved, every contender once a round.
//   --rounds N   default 15        --quick   3 rounds        --pages N   default 65,536 (256 MiB)
//   --what LIST  of 'on demand', 'sparse', 'bulk', 'bulk-direct'    --cpus LIST   of one, two
//   --write      table and raw rows into docs/results
//   --out DIR   into DIR        --rows FILE   raw rows only
import { mkdirSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { bringIntoCache, dropFromCache } from '@varve/lab'
import { compileC, must } from '../common/child.js'
import { turned } from '../common/numbers.js'
import { resultOptions, say, writeResults } from '../common/results.js'
import { openScratch } from '../common/scratch.js'
import { type FaultRow, isOnDemand, type What, whats } from './fault-rows.js'
import { type ClientMode, serveInC, serveOneClient, serveWithPageServer } from './fault-servers.js'
import { faultsPage, faultsParts } from './faults-report.js'
import { makeLayer, residentShare } from './layer.js'

const contenders: Readonly<Record<What, readonly string[]>> = {
  'on demand': ['example', 'tight', 'page server', 'page server, single pages'],
  sparse: ['example', 'tight', 'page server', 'page server, second VM'],
  bulk: ['bulk', 'page server'],
  'bulk-direct': ['bulk-direct', 'page server'],
}

/** Of the handlers; the client has the same, or the other. */
const serverCpu = Math.min(1, cpus().length - 1)

export async function benchFaults(argv: readonly string[]): Promise<void> {
  const { values: options } = parseArgs({
    args: [...argv],
    options: {
      rounds: { type: 'string' },
      quick: { type: 'boolean' },
      pages: { type: 'string' },
      what: { type: 'string' },
      cpus: { type: 'string' },
      ...resultOptions,
    },
  })
  const rounds = Number(options.rounds ?? (options.quick ? 3 : 15))
  const pages = Number(options.pages ?? 65_536)
  const chosen = whats.filter((what) => options.what?.split(',').includes(what) ?? true)
  const clientCpus = (cpus().length > 1 ? [serverCpu, 0] : [serverCpu]).filter((cpu) =>
    (options.cpus ?? 'one,two').split(',').includes(cpu === serverCpu ? 'one' : 'two'),
  )

  process.env.VARVE_PAGE_SERVER_LINGER_MS = '60000'
  using scratch = openScratch()
  const [client, handler, layer] = [
    scratch.path('uffd-client'),
    scratch.path('uffd-handler'),
    scratch.path('layer'),
  ]
  if (!compileC('uffd-client.c', client) || !compileC('uffd-handler.c', handler))
    throw new Error('client and handlers need a C compiler (cc)')
  makeLayer(layer, pages)
  // What this process starts, the page server too, inherits it.
  must('taskset', ['-acp', String(serverCpu), String(process.pid)])

  const measure = async (
    what: What,
    name: string,
    clientCpu: number,
    own: string,
  ): Promise<FaultRow['measured']> => {
    const mode: ClientMode = what === 'sparse' ? 'sparse' : isOnDemand(what) ? 'touch' : 'wait'
    /** One client, and what answers its faults. `keep`: the page server is left for another. */
    const once = async (directory: string, keep = false) => {
      mkdirSync(directory, { recursive: true, mode: 0o700 })
      if (what === 'bulk-direct') dropFromCache([layer])
      else bringIntoCache([layer])
      const residentBefore = residentShare(layer)
      const server = name.startsWith('page server')
        ? serveWithPageServer({
            runtime: own,
            directory,
            layer,
            pages,
            bulk: !isOnDemand(what),
            single: name.endsWith('single pages'),
          })
        : serveInC(handler, layer, name)
      const touched = await serveOneClient({ client, clientCpu, directory, pages, mode, server, keep })
      return { ...touched, residentBefore }
    }
    if (!name.endsWith('second VM')) return once(own)
    await once(own, true)
    return once(join(own, 'second'))
  }

  const rows: FaultRow[] = []
  for (let round = 0; round <= rounds; round++) {
    if (round > 0) say(`round ${round} of ${rounds}`)
    for (const what of chosen)
      for (const clientCpu of isOnDemand(what) ? clientCpus : clientCpus.slice(-1))
        for (const [turn, name] of turned(contenders[what], round).entries()) {
          const own = scratch.path(`${round}-${what}-${turn}-${clientCpu}`)
          const measured = await measure(what, name, clientCpu, own)
          if (measured.wrong !== 0) throw new Error(`${what}, ${name}: ${measured.wrong} pages were wrong`)
          const on = clientCpu === serverCpu ? 'one' : 'two'
          if (round > 0) rows.push({ what, handler: name, cpus: on, round, measured })
        }
  }
  const parts = faultsParts(rows, { rounds, pages })
  process.stderr.write(`\n${Object.values(parts.text).join('\n\n')}\n`)
  writeResults(
    {
      name: 'faults',
      rows: [parts.environment, ...rows.map(({ measured, ...row }) => ({ ...row, ...measured }))],
      parts: parts.text,
      newPage: faultsPage,
    },
    options,
  )
}
