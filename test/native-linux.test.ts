import { guestAgent, linuxGuest, nativeLinuxBoots } from '@varve/lab'
import { bootMachine, checkHost, recallLinuxVerdict } from 'varve'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openWorld, type World } from './support/world.js'

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
  const { kernel, initrd, rootDisk, bootArgs } = await linuxGuest()
  await using machine = await bootMachine(
    {
      kernel,
      initrd,
      bootArgs,
      memoryMib: 256,
      vcpus: 1,
      vsockCid: 3,
      rootDisk: { path: rootDisk, readOnly: true },
    },
    { binary: world.binary, runtimeDirectory: world.runtimeDirectory },
  )
  const agent = guestAgent(machine.vsockPath ?? '')
  await agent.put('hello', '#!/bin/sh\necho "hello, $(cat)"\n')
  expect((await agent.invoke('hello', 'native')).output.toString()).toBe('hello, native\n')
})
