import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type BootMicroGuestOptions, bootMicroGuest, buildMicroGuest, type MicroGuest } from '@varve/lab'
import {
  type FirecrackerBinary,
  findFirecracker,
  listMachines,
  openLocalStore,
  type SnapshotStore,
} from 'varve'
import { afterAll, beforeAll } from 'vitest'

/**
 * A scratch directory with a runtime directory, a store and the micro guest's kernel. Closing it removes all
 * of them, and fails if a machine was left behind.
 */
export interface MicroWorld extends AsyncDisposable {
  readonly directory: string
  readonly runtimeDirectory: string
  readonly binary: FirecrackerBinary
  readonly store: SnapshotStore
  /** `micro.elf` in the directory. */
  readonly kernel: string
  /** Where the machines of this world run: options of `launchMachine`, `bootMachine` and `restoreMachine`. */
  readonly launch: { readonly binary: FirecrackerBinary; readonly runtimeDirectory: string }
  /** Variables for commands that run in it, in addition to those that lead them to it. */
  readonly env?: Readonly<Record<string, string>>
  path(name: string): string
  boot(options: BootMicroGuestOptions): Promise<MicroGuest>
}

export interface OpenMicroWorldOptions {
  /** On a disk also if os.tmpdir() is a tmpfs, whose pages never leave the page cache. */
  readonly onDisk?: boolean
}

export async function openMicroWorld({ onDisk = false }: OpenMicroWorldOptions = {}): Promise<MicroWorld> {
  const binary = await findFirecracker({ onProgress: (message) => console.error(message) })
  const directory = mkdtempSync(join(onDisk ? '/var/tmp' : tmpdir(), 'varve-test-'))
  const path = (name: string) => join(directory, name)
  const launch = { binary, runtimeDirectory: path('run') }
  const kernel = path('micro.elf')
  writeFileSync(kernel, buildMicroGuest())
  return {
    directory,
    ...launch,
    store: await openLocalStore(path('store'), { create: true }),
    kernel,
    launch,
    path,
    boot: (options) => bootMicroGuest({ ...launch, ...options }),
    [Symbol.asyncDispose]: async () => {
      const left = listMachines(launch.runtimeDirectory).map(({ record }) => record.id)
      rmSync(directory, { recursive: true, force: true })
      if (left.length > 0) throw new Error(`machines left behind: ${left.join(', ')}`)
    },
  }
}

/**
 * One world for all tests of a file. It has its fields from the file's other `beforeAll` hooks on, and is
 * closed after the file's other `afterAll` hooks: call this first.
 */
export function microWorldOfFile(options?: OpenMicroWorldOptions): MicroWorld {
  const world = {} as MicroWorld
  beforeAll(async () => {
    Object.assign(world, await openMicroWorld(options))
  })
  afterAll(async () => {
    await world[Symbol.asyncDispose]?.()
  })
  return world
}
