import { rmSync } from 'node:fs'
import type { PausedMachine } from 'varve'
import { compareImages } from 'varve/layers'
import { expect } from 'vitest'
import type { MicroWorld } from './micro-world.js'

/**
 * Whether the snapshot has what the machine, which did not run since, has, as a Full of Firecracker says.
 * Brings all of its memory.
 */
export async function expectSameMemory(world: MicroWorld, paused: PausedMachine, ref: string): Promise<void> {
  const [statePath, memoryPath] = [world.path('full.state'), world.path('full')]
  await paused.snapshot({ type: 'Full', statePath, memoryPath })
  await using image = await world.store.open(ref)
  expect((await compareImages(image, memoryPath)).pages).toBe(0)
  for (const path of [statePath, memoryPath]) rmSync(path)
}
