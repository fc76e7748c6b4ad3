import { MicroConsole } from '@varve/lab'
import { listMachines, openLocalStore, restoreMachine, stopMachine } from 'varve'
import { contentOfTag, verifyContent } from './content.mjs'
import { disposing } from './disposing.mjs'
import { processesOf, waitForEnd } from './processes.mjs'
import { residueOf } from './residue.mjs'
import { describeError } from './show.mjs'

const engines = ['file', 'paged', 'mapped', 'auto']
/** Restored at the end, each by another engine. */
const mostRestores = 12
/** A server ends 1.5 s after its last VM, and later on a busy host. */
const endMs = 20_000

/**
 * Checks, after the workers have ended, that every named snapshot is there and right, and that nothing else
 * is left. Returns failures.
 */
export async function settle(run, ledger, random, binary) {
  const failures = []
  const attempt = async (what, work) => {
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
  const chosen = [...there].filter((tag) => contentOfTag(tag) !== undefined)
  for (let count = 0; count < mostRestores && chosen.length > 0; count++) {
    const [tag] = chosen.splice(random.below(chosen.length), 1)
    const engine = engines[count % engines.length]
    await attempt(`restore of ${tag} by ${engine} at the end`, () =>
      check(run, store, binary, random, tag, engine),
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

async function stopAll(run) {
  for (const { record } of listMachines(run.runtime))
    await stopMachine(record.id, { runtimeDirectory: run.runtime })
}

async function check(run, store, binary, random, tag, engine) {
  const { machine } = await restoreMachine(store, tag, { engine, binary, runtimeDirectory: run.runtime })
  await disposing(machine, () =>
    disposing(MicroConsole.attach(machine.paths), (console) =>
      verifyContent(console, contentOfTag(tag), random),
    ),
  )
}

/** The mappers of this process stay until it ends. */
async function waitForEndOfAll(run) {
  return await waitForEnd(run.directory, endMs, ({ command }) => !isOwnMapper(command))
}

const isOwnMapper = (command) => command.endsWith(`mapper-main.js ${process.pid}`)

/** With the last tag goes the last blob. */
async function removeAll(run, store, failures) {
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
export async function endEverything(run, kill) {
  try {
    await stopAll(run)
  } catch {
    // Machines that cannot be stopped in order are killed below.
  }
  for (const identity of processesOf(run.directory)) kill(identity)
  await waitForEnd(run.directory, 5000)
}
