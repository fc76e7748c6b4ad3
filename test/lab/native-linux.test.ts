import {
  connectAgent,
  guestHere,
  invokeFunction,
  labFunction,
  nativeLinuxBoots,
  prepareGuest,
} from '@varve/lab'
import { checkHost, recallLinuxVerdict, restoreMachine } from 'varve'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openWorld, type World } from '../support/world.js'

let world: World
let boots: boolean
beforeAll(async () => {
  world = await openWorld()
  boots = await nativeLinuxBoots({ binary: world.binary })
})
afterAll(async () => {
  await world[Symbol.asyncDispose]()
})

test('whether Linux boots on this KVM is found by trying, remembered, and told by doctor', async () => {
  expect(recallLinuxVerdict()?.linuxBoots).toBe(boots)
  const said: string[] = []
  expect(await nativeLinuxBoots({ binary: world.binary, onProgress: (message) => said.push(message) })).toBe(
    boots,
  )
  // Remembered: nothing was tried again.
  expect(said).toEqual([])
  const kvm = (await checkHost()).find(({ id }) => id === 'kvm')
  expect(kvm?.finding).toContain('tried since the last reboot')
  expect(kvm?.finding).toContain(boots ? 'for Linux guests and the micro guest' : 'for the micro guest only')
})

test('where it boots, it answers natively; where it does not, the nested lab is named', async () => {
  if (!boots) {
    const kvm = (await checkHost()).find(({ id }) => id === 'kvm')
    expect(kvm?.remedy).toContain('nested lab')
    return
  }
  const { store, binary, runtimeDirectory } = world
  const functions = [labFunction('hello'), labFunction('matmul')]
  const { entry } = await prepareGuest({
    store,
    tags: ['native'],
    functions,
    guest: await guestHere(),
    binary,
    runtimeDirectory,
  })
  const { machine } = await restoreMachine(store, entry.id, { binary, runtimeDirectory })
  await using clone = machine
  for (const fn of functions)
    expect(await invokeFunction(connectAgent(clone), fn, 'b')).toMatchObject({ fault: null })
})
