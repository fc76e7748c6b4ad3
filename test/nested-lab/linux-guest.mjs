// Runs inside the nested lab: a Linux guest from boot to an invocation after a restore, each step's answer and time kept.
import { randomBytes } from 'node:crypto'
import { mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { guestAgent, guestInLab } from '@varve/lab'
import { bootMachine, countPages, indexMemoryFile, launchMachine } from 'varve'

const times = {}
const timed = async (name, work) => {
  const start = performance.now()
  const value = await work()
  times[name] = Math.round(performance.now() - start)
  return value
}
const text = ({ output }) => output.toString('utf8')
// Refusals are part of what is asserted outside.
const refusal = (promise) =>
  promise.then(
    () => 'no error',
    ({ code, message }) => ({ code, message }),
  )

const snapshots = join(process.env.TMPDIR, `snapshots-${randomBytes(4).toString('hex')}`)
mkdirSync(snapshots, { mode: 0o700 })
const files = { statePath: join(snapshots, 'state'), memoryPath: join(snapshots, 'memory') }

const first = await timed('boot', () =>
  bootMachine({
    kernel: guestInLab.kernel,
    initrd: guestInLab.initrd,
    bootArgs: guestInLab.bootArgs,
    rootDisk: { path: guestInLab.rootDisk, readOnly: true },
    memoryMib: 256,
    vcpus: 1,
    vsockCid: 3,
    entropy: true,
  }),
)
const result = { times, firecracker: first.firecrackerVersion }
try {
  const agent = guestAgent(first.vsockPath)
  await timed('guestUp', () => agent.ping({ timeoutMs: 90_000 }))
  await timed('put', () => agent.put('hello', '#!/bin/sh\nread -r name\necho "hello, $name"\n'))
  result.hello = text(await timed('invoke', () => agent.invoke('hello', 'first\n')))
  await agent.put('count', '#!/bin/sh\necho x >>/run/count\nwc -l </run/count\n')
  result.counts = [text(await agent.invoke('count')), text(await agent.invoke('count'))]
  await agent.put('failing', '#!/bin/sh\necho it broke >&2\nexit 7\n')
  result.failing = await refusal(agent.invoke('failing'))
  result.missing = await refusal(agent.invoke('nobody'))
  const blob = randomBytes(200_000)
  await agent.put('cat', '#!/bin/sh\nexec cat\n')
  result.blobIntact = blob.equals((await timed('echo200k', () => agent.invoke('cat', blob))).output)
  await agent.put('uname', '#!/bin/sh\nuname -r\n')
  result.kernel = text(await agent.invoke('uname')).trim()

  const paused = await timed('pause', () => first.pause())
  await timed('snapshot', () => paused.snapshot({ type: 'Full', ...files }))
  result.memoryBytes = statSync(files.memoryPath).size
  // Nothing has run since the Full: what is in this Diff is the virtio rings, which Firecracker marks after each snapshot.
  const memoryPath = join(snapshots, 'diff')
  await paused.snapshot({ type: 'Diff', statePath: join(snapshots, 'diff.state'), memoryPath })
  const { index } = await indexMemoryFile(memoryPath, { kind: 'diff' })
  const { data, zero } = countPages(index)
  result.diffAfterFullPages = data + zero
} finally {
  await first.stop()
}

const second = await launchMachine()
try {
  const loaded = await timed('load', () =>
    second.load({
      statePath: files.statePath,
      memory: { backend: 'File', path: files.memoryPath },
      disks: [{ file: 'disk-rootfs', source: guestInLab.rootDisk, mode: 'link' }],
    }),
  )
  const restored = await timed('resume', () => loaded.resume())
  const agent = guestAgent(restored.vsockPath)
  result.otherProcess = restored.pid !== first.pid
  // No put: the functions, and what they counted, are in the memory that came back.
  result.helloRestored = text(await timed('invokeRestored', () => agent.invoke('hello', 'second\n')))
  result.countRestored = text(await agent.invoke('count'))
} finally {
  await second.stop()
}
writeFileSync(process.env.VARVE_LAB_RESULT, JSON.stringify(result))
