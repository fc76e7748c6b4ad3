import { openLocalStore, type RunningMachine, recordMachine, restoreMachine } from 'varve'
import { presentPages } from 'varve/working-sets'

/**
 * Restores a snapshot, records what `work` has it touch, and keeps the working
 * set with the snapshot, as `name`.
 */
export async function recordWork(
  storeDirectory: string,
  ref: string,
  name: string,
  work: (machine: RunningMachine) => Promise<void>,
): Promise<string> {
  const store = await openLocalStore(storeDirectory)
  const { machine } = await restoreMachine(store, ref, { engine: 'file', resume: false })
  await using paused = machine
  await using recording = await recordMachine(paused, store, {
    recorders: ['pagemap'],
    maxMs: 10_000,
    notes: { function: name },
  })
  await work(await paused.resume())
  const { workingSet, recorded } = await recording.stop()
  for (const { warning } of recorded) if (warning !== null) console.warn(warning)
  await store.saveWorkingSet(ref, name, workingSet)
  return `${presentPages(workingSet).pages} pages, ${workingSet.written.pages} of them written`
}
