// `npm run bench:record`: what recording costs. A VM that is recorded against one that is not, the same work
// in the same run, every contender once a round; and one mincore pass over 1 GiB against the same loop in C,
// where there is a compiler.
//   --quick       3 rounds in place of 9
//   --rounds N
//   --write       tables and raw rows into docs/results
//   --out DIR   into DIR        --rows FILE   raw rows only
import { parseArgs } from 'node:util'
import { bootMicroGuest, bringIntoCache, dropFromCache, MicroConsole } from '@varve/lab'
import {
  captureSnapshot,
  findFirecracker,
  type LocalStore,
  openLocalStore,
  type RestoreOptions,
  restoreMachine,
} from 'varve'
import { type JointRecording, recordTogether } from 'varve/working-sets'
import { thousandths, turned } from '../common/numbers.js'
import { resultOptions, say, writeResults } from '../common/results.js'
import { openScratch } from '../common/scratch.js'
import { measurePasses } from './mincore-passes.js'
import { recordPage, recordParts } from './record-report.js'
import {
  type Contender,
  contenders,
  filled,
  memoryMib,
  type PassRow,
  reads,
  type VmRow,
  writes,
} from './record-rows.js'

type Launch = Required<Pick<RestoreOptions, 'binary' | 'runtimeDirectory'>>

export async function benchRecord(argv: readonly string[]): Promise<void> {
  const { values: options } = parseArgs({
    args: [...argv],
    options: { quick: { type: 'boolean' }, rounds: { type: 'string' }, ...resultOptions },
  })
  const rounds = Number(options.rounds ?? (options.quick ? 3 : 9))
  // On disk: a tmpfs never drops a page.
  using scratch = openScratch()
  const passes: readonly PassRow[] = measurePasses(scratch, rounds)
  const launch: Launch = { binary: await findFirecracker(), runtimeDirectory: scratch.path('run') }
  const store = await openLocalStore(scratch.path('store'), { create: true })
  await makeSnapshot(store, launch)
  const vms: VmRow[] = []
  for (let round = 0; round <= rounds; round++) {
    say(round === 0 ? 'warming up' : `round ${round} of ${rounds}`)
    for (const contender of turned(contenders, round)) {
      const row = await runOnce(store, launch, contender)
      if (round > 0) vms.push({ what: 'vm', ...contender, round, ...row })
    }
  }
  const parts = recordParts({ vms, passes, rounds })
  process.stderr.write(`\n${Object.values(parts).join('\n\n')}\n`)
  writeResults({ name: 'record', rows: [...passes, ...vms], parts, newPage: recordPage }, options)
}

async function makeSnapshot(store: LocalStore, launch: Launch): Promise<void> {
  await using booted = await bootMicroGuest({ memoryMib, ...launch })
  const { machine, console: guest } = booted
  await guest.write(filled, 1)
  await captureSnapshot(await machine.pause(), { store, tags: ['base'], base: 'Full' })
}

type Measured = Omit<VmRow, keyof Contender | 'what' | 'round'>

async function runOnce(
  store: LocalStore,
  launch: Launch,
  { engine, cache, recorders }: Contender,
): Promise<Measured> {
  let recording: JointRecording | undefined
  let startMs = 0
  const { machine } = await restoreMachine(store, 'base', {
    ...launch,
    engine,
    beforeLoad: async (sources) => {
      const paths = sources.files.map(({ path }) => path)
      // Throws if pages stay, so that no warm measurement counts as cold.
      if (cache === 'dropped') dropFromCache(paths)
      else bringIntoCache(paths)
      if (recorders.length === 0) return
      const from = performance.now()
      recording = await recordTogether(sources, recorders)
      startMs = performance.now() - from
    },
  })
  await using _machine = machine
  await using guest = MicroConsole.attach(machine.paths)
  try {
    await guest.ping()
    const from = performance.now()
    await guest.read(reads)
    await guest.write(writes, 2)
    const workMs = performance.now() - from
    const recorded = (await recording?.stop()) ?? []
    const stopMs = recording === undefined ? 0 : performance.now() - from - workMs
    return {
      startMs: thousandths(startMs),
      workMs: thousandths(workMs),
      stopMs: thousandths(stopMs),
      scans: Math.max(0, ...recorded.map(({ scans }) => scans)),
      present: recorded.flatMap(({ present }) => present?.pages ?? [])[0] ?? null,
      written: recorded.flatMap(({ written }) => written?.pages ?? [])[0] ?? null,
    }
  } finally {
    await recording?.[Symbol.asyncDispose]()
  }
}
