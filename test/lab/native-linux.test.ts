import { guestAgent } from '@varve/guest'
import { guestHere, invokeFunction, labFunction, nativeLinuxBoots, prepareGuest } from '@varve/lab'
import { checkHost, restoreMachine } from 'varve'
import { recallLinuxVerdict } from 'varve/testing'
import { beforeAll, expect, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

const world = microWorldOfFile()
let boots: boolean
beforeAll(async () => {
  boots = await nativeLinuxBoots({ binary: world.binary })
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
  const { store, launch } = world
  const functions = [labFunction('hello'), labFunction('matmul')]
  const { entry } = await prepareGuest({
    store,
    tags: ['native'],
    functions,
    guest: await guestHere(),
    ...launch,
  })
  const { machine } = await restoreMachine(store, entry.id, launch)
  await using clone = machine
  for (const fn of functions)
    expect(await invokeFunction(guestAgent(clone), fn, 'b')).toMatchObject({ fault: null })
})
