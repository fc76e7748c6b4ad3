import { MicroConsole } from '@varve/lab'
import {
  type FirecrackerBinary,
  type LocalStore,
  listMachines,
  openLocalStore,
  type ProcessIdentity,
  type RestoreOptions,
  restoreMachine,
  stopMachine,
} from 'varve'
import { type Content, contentOfTag, verifyContent } from './content.js'
import type { Ledger } from './ledger.js'
import { processesOf, type RunProcess, waitForEnd } from './processes.js'
import type { Random } from './random.js'
import { residueOf } from './residue.js'
import type { RunPaths } from './run.js'
import { describeError } from './show.js'

const engines: readonly RestoreOptions['engine'][] = ['file', 'paged', 'mapped', 'auto']
/** Restored at the end, each by another engine. */
const mostRestores = 12
/** A server ends 1.5 s after its last VM, and later on a busy host. */
const endMs = 20_000

export interface Failure {
  readonly what: string
  /** Of a worker: its id, its seed, and its last lines in the log. */
  readonly worker?: string
  readonly seed?: string
  readonly last?: readonly string[]
}

export interface Settled {
  readonly failures: readonly Failure[]
  /** Tags at the end, and those of them that had to be there. */
  readonly snapshots: number
  readonly expected: number
}

/**
 * Checks, after the workers have ended, that every named snapshot is there and right, and that nothing else
 * is left. Returns failures.
 */
export async function settle(
  run: RunPaths,
  ledger: Ledger,
  random: Random,
  binary: FirecrackerBinary,
): Promise<Settled> {
  const failures: Failure[] = []
  const attempt = async (what: string, work: () => Promise<unknown>) => {
    try {
      await work()
    } catch (error) {
      failures.push({ what: `${what}: ${describeError(error)}` })
    }
  }
  await attempt('stopping detached machines', () => stopAll(run))
  const store = await openLocalStore(run.store)
  const expected = ledger.expectedTags()
  const there = new Set((await store.list()).flatMap(({ tags }) => tags))
  for (const tag of expected)
    if (!there.has(tag)) failures.push({ what: `tag ${tag} was given, never removed, and is gone` })
  const chosen = [...there].flatMap((tag) => {
    const content = contentOfTag(tag)
    return content === undefined ? [] : [{ tag, content }]
  })
  for (let count = 0; count < mostRestores && chosen.length > 0; count++) {
    const [one] = chosen.splice(random.below(chosen.length), 1)
    if (one === undefined) break
    const engine = engines[count % engines.length]
    await attempt(`restore of ${one.tag} by ${engine} at the end`, () =>
      check({ ...one, run, store, binary, random, engine }),
    )
  }
  const left = await waitForEndOfAll(run)
  for (const { pid, command } of left) failures.push({ what: `process ${pid} is left: ${command}` })
  await attempt('gc', () => store.gc())
  await attempt('fsck', async () => {
    const { findings } = await store.fsck()
    for (const finding of findings) failures.push({ what: `fsck: ${JSON.stringify(finding)}` })
  })
  for (const what of await residueOf(run, store)) failures.push({ what: `left over: ${what}` })
  await attempt('removal of everything', () => removeAll(run, store, failures))
  return { failures, snapshots: there.size, expected: expected.length }
}

async function stopAll(run: RunPaths): Promise<void> {
  for (const { record } of listMachines(run.runtime))
    await stopMachine(record.id, { runtimeDirectory: run.runtime })
}

interface Check {
  readonly tag: string
  readonly content: Content
  readonly engine: RestoreOptions['engine']
  readonly run: RunPaths
  readonly store: LocalStore
  readonly binary: FirecrackerBinary
  readonly random: Random
}

async function check({ tag, content, engine, run, store, binary, random }: Check): Promise<void> {
  await using restored = await restoreMachine(store, tag, { engine, binary, runtimeDirectory: run.runtime })
  await using console = MicroConsole.attach(restored.machine.paths)
  await verifyContent(console, content, random)
}

/** The mappers of this process stay until it ends. */
const waitForEndOfAll = (run: RunPaths): Promise<RunProcess[]> =>
  waitForEnd(run.directory, endMs, ({ command }) => !isOwnMapper(command))

const isOwnMapper = (command: string): boolean => command.endsWith(`mapper-main.js ${process.pid}`)

/** With the last tag goes the last blob. */
async function removeAll(run: RunPaths, store: LocalStore, failures: Failure[]): Promise<void> {
  for (const { id } of await store.list()) await store.removeSnapshot(id)
  await store.gc()
  const usage = await store.usage()
  if (usage.length > 0) failures.push({ what: `layers without a snapshot: ${JSON.stringify(usage)}` })
  for (const what of await residueOf(run, store))
    failures.push({ what: `left after all was removed: ${what}` })
  const { findings } = await store.fsck()
  for (const finding of findings)
    failures.push({ what: `fsck of the empty store: ${JSON.stringify(finding)}` })
}

/** For the end of an interrupted run: kills all its processes, by pid and start time. */
export async function endEverything(run: RunPaths, kill: (identity: ProcessIdentity) => void): Promise<void> {
  try {
    await stopAll(run)
  } catch {
    // Machines that cannot be stopped in order are killed below.
  }
  for (const identity of processesOf(run.directory)) kill(identity)
  await waitForEnd(run.directory, 5000)
}
