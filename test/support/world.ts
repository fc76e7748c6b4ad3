import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type FirecrackerBinary,
  findFirecracker,
  listMachines,
  openLocalStore,
  type SnapshotStore,
} from 'varve'

/** A scratch directory, a runtime directory and a store of one test file; closing it fails if a machine was left behind. */
export interface World extends AsyncDisposable {
  readonly directory: string
  readonly runtimeDirectory: string
  readonly binary: FirecrackerBinary
  readonly store: SnapshotStore
  /** Variables for commands that run in it, besides those that lead them to it. */
  readonly env?: Readonly<Record<string, string>>
  path(name: string): string
}

export async function openWorld(): Promise<World> {
  const binary = await findFirecracker({ onProgress: (message) => console.error(message) })
  const directory = mkdtempSync(join(tmpdir(), 'varve-test-'))
  const runtimeDirectory = join(directory, 'run')
  return {
    directory,
    runtimeDirectory,
    binary,
    store: await openLocalStore(join(directory, 'store'), { create: true }),
    path: (name) => join(directory, name),
    [Symbol.asyncDispose]: async () => {
      const left = listMachines(runtimeDirectory).map(({ record }) => record.id)
      rmSync(directory, { recursive: true, force: true })
      if (left.length > 0) throw new Error(`machines left behind: ${left.join(', ')}`)
    },
  }
}
