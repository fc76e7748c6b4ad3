// Runs inside the nested lab: a Linux guest with a writable disk, a chain of three snapshots in a store, each restored: what
// the guest's files and memory held then is what they hold again, and clones do not see each other's writes.
import { createHash, randomBytes } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { guestAgent, guestInLab } from '@varve/lab'
import { bootMachine, captureSnapshot, listMachines, openLocalStore, restoreMachine } from 'varve'

const scratch = join(process.env.TMPDIR, `chain-${randomBytes(4).toString('hex')}`)
mkdirSync(scratch, { mode: 0o700 })
const dataDisk = join(scratch, 'data.ext4')
copyFileSync('data.ext4', dataDisk)
const store = await openLocalStore(join(scratch, 'store'), { create: true })
const text = ({ output }) => output.toString('utf8')

// The mount, its dirty pages and a tmpfs live in guest memory; the files live half there, half on the disk.
const functions = {
  'mount-data': '#!/bin/sh\nmkdir -p /run/data && mount -t ext4 /dev/vdb /run/data\n',
  // NAME CONTENT: a file on the disk (not synced: what is not on the disk yet is in memory), and the same in tmpfs.
  keep: '#!/bin/sh\nread -r name content\necho "$content" >/run/data/$name\necho "$content" >/run/$name.memory\n',
  drop: '#!/bin/sh\nread -r name\nrm /run/data/$name /run/$name.memory\n',
  synced: '#!/bin/sh\nsync\n',
  state:
    '#!/bin/sh\ncd /run/data && for f in [a-z]*.txt; do echo "$f $(cat $f)"; done\ncd /run && for f in *.memory; do echo "$f $(cat $f)"; done\n',
}

const result = { captured: [], states: {}, expected: {} }
const machine = await bootMachine({
  kernel: guestInLab.kernel,
  initrd: guestInLab.initrd,
  bootArgs: guestInLab.bootArgs,
  rootDisk: { path: guestInLab.rootDisk, readOnly: true },
  disks: [{ id: 'data', path: dataDisk }],
  memoryMib: 256,
  vcpus: 1,
  vsockCid: 3,
})
try {
  const agent = guestAgent(machine.vsockPath)
  await agent.ping({ timeoutMs: 90_000 })
  for (const [name, program] of Object.entries(functions)) await agent.put(name, program)
  await agent.invoke('mount-data')
  let running = machine
  const capture = async (tag, parent) => {
    const paused = await running.pause()
    const { entry, layer, createMs, disksMs, type } = await captureSnapshot(paused, {
      store,
      tags: [tag],
      parent,
    })
    result.captured.push({
      tag,
      type,
      layers: (await store.describe(entry.id)).layers.length,
      createMs,
      disksMs,
    })
    running = await paused.resume()
    result.expected[tag] = text(await agent.invoke('state'))
    return layer
  }
  await agent.invoke('keep', 'first.txt one\n')
  await agent.invoke('synced')
  await capture('base')
  await agent.invoke('keep', 'second.txt two\n')
  await capture('one', 'base')
  await agent.invoke('keep', 'first.txt changed\n')
  await agent.invoke('drop', 'second.txt\n')
  await agent.invoke('keep', 'third.txt three\n')
  await capture('two', 'one')
} finally {
  await machine.stop()
}
// The snapshots need nothing from outside the store.
rmSync(dataDisk)

const digest = (path) => createHash('sha256').update(readFileSync(path)).digest('hex')
const blobs = async (tag) => {
  const snapshot = await store.open(tag)
  try {
    return [...snapshot.diskFiles, ...snapshot.files].map(
      ({ path }) => `${path.split('/').at(-1)} ${digest(path)}`,
    )
  } finally {
    await snapshot[Symbol.asyncDispose]()
  }
}
const before = await blobs('two')
const restores = []
for (const [tag, engine] of [
  // Each emulated restore takes some 10 s; the two clones below come from the newest by the file engine.
  ['base', 'file'],
  ['one', 'mapped'],
  ['two', 'paged'],
  ['two', 'mapped'],
]) {
  const { machine: clone } = await restoreMachine(store, tag, { engine })
  try {
    const agent = guestAgent(clone.vsockPath)
    const state = text(await agent.invoke('state', '', { timeoutMs: 60_000 }))
    // Written to the clone's own disk, and seen by nobody else.
    await agent.invoke('keep', `clone.txt ${tag}-${engine}\n`)
    await agent.invoke('synced')
    restores.push({
      tag,
      engine,
      state,
      own: text(await agent.invoke('state')).includes(`clone.txt ${tag}-${engine}`),
    })
  } finally {
    await clone.stop()
  }
}
// Two at once from one snapshot.
const clones = await Promise.all(['a', 'b'].map(() => restoreMachine(store, 'two', { engine: 'file' })))
try {
  const agents = clones.map(({ machine: clone }) => guestAgent(clone.vsockPath))
  for (const [i, agent] of agents.entries()) {
    await agent.invoke('keep', `mine.txt clone-${i}\n`, { timeoutMs: 60_000 })
    await agent.invoke('synced')
  }
  result.clones = []
  for (const agent of agents)
    result.clones.push(/mine\.txt (\S+)/.exec(text(await agent.invoke('state')))?.[1])
} finally {
  for (const { machine: clone } of clones) await clone.stop()
}
result.restores = restores
result.blobsIntact = JSON.stringify(before) === JSON.stringify(await blobs('two')) && !existsSync(dataDisk)
result.fsck = (await store.fsck()).findings.filter(({ severity }) => severity === 'error')
result.machinesLeft = listMachines().length
writeFileSync(process.env.VARVE_LAB_RESULT, JSON.stringify(result))
