// Runs inside the nested lab: a Linux guest with a writable disk, a chain of three snapshots in a store, each
// restored: what the guest's files and memory held then is what they hold again, and clones do not see each
// other's writes. One of the restored guests has its balloon inflated and deflated on the way.
import { randomBytes } from 'node:crypto'
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { guestAgent } from '@varve/guest'
import { guestInLab, installFunction } from '@varve/lab'
import { captureSnapshot, launchMachine, listMachines, openLocalStore, restoreMachine } from 'varve'
import { countPages, indexMemoryFile } from 'varve/layers'

// Emulated, a page server takes ten seconds to start: one for all restores here, and of the next script.
process.env.VARVE_PAGE_SERVER_LINGER_MS = '600000'
const scratch = join(process.env.TMPDIR, `chain-${randomBytes(4).toString('hex')}`)
mkdirSync(scratch, { mode: 0o700 })
const dataDisk = join(scratch, 'data.ext4')
copyFileSync('data.ext4', dataDisk)
const store = await openLocalStore(join(scratch, 'store'), { create: true })
// Refusals are part of what is asserted outside.
const refusal = (promise) =>
  promise.then(
    () => 'no error',
    ({ code, message }) => ({ code, message }),
  )

/** Emulated, a restored guest first waits for each of its pages. */
const slow = { timeoutMs: 60_000 }
const sh = async (agent, script, ...words) => {
  const { exitCode, stdout, stderr } = await agent.exec(['sh', '-c', script, 'sh', ...words], slow)
  if (exitCode !== 0) throw new Error(`${script} ended with ${exitCode}: ${stderr}`)
  return String(stdout)
}
// The mount, its dirty pages and a tmpfs live in guest memory; the files live half there, half on the disk.
const mountData = (agent) => sh(agent, 'mkdir -p /run/data && mount -t ext4 /dev/vdb /run/data')
/** A file on the disk (not synced: what is not on the disk yet is in memory), and the same in tmpfs. */
const keep = (agent, name, content) =>
  sh(agent, 'echo "$2" >/run/data/$1 && echo "$2" >/run/$1.memory', name, content)
const drop = (agent, name) => sh(agent, 'rm /run/data/$1 /run/$1.memory', name)
const synced = (agent) => sh(agent, 'sync')
const stateOf = (agent) =>
  sh(
    agent,
    'cd /run/data && for f in [a-z]*.txt; do echo "$f $(cat $f)"; done; cd /run && for f in *.memory; do echo "$f $(cat $f)"; done',
  )

const [heldPages, leftPages, freshPages, balloonMib] = [256, 1536, 256, 64]

const pages = async (agent, op, name, count) =>
  Number((await agent.functions.invoke('pages', `${op} ${name} ${count}`, slow)).output)
const heldRight = (agent) => pages(agent, 'right', 'held', heldPages)

const result = { captured: [], states: {}, expected: {} }
const launched = await launchMachine()
await launched.api.putBalloon({ amount_mib: 0, deflate_on_oom: false })
const machine = await launched.boot({
  kernel: guestInLab.kernel,
  initrd: guestInLab.initrd,
  bootArgs: guestInLab.bootArgs,
  rootDisk: { path: guestInLab.rootDisk, readOnly: true },
  disks: [{ id: 'data', path: dataDisk }],
  memoryMib: 256,
  vcpus: 1,
  vsockCid: 3,
  entropy: true,
})
try {
  const agent = guestAgent(machine)
  await agent.ping({ timeoutMs: 90_000 })
  const source = readFileSync('page-keeper.py', 'utf8')
  await installFunction(agent, { name: 'pages', runtime: 'python', source })
  result.missing = await refusal(agent.functions.invoke('nobody'))
  await mountData(agent)
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
    result.expected[tag] = await stateOf(agent)
    return layer
  }
  await keep(agent, 'first.txt', 'one')
  await synced(agent)
  await capture('base')
  await keep(agent, 'second.txt', 'two')
  await capture('one', 'base')
  await keep(agent, 'first.txt', 'changed')
  await drop(agent, 'second.txt')
  await keep(agent, 'third.txt', 'three')
  await pages(agent, 'hold', 'held', heldPages)
  await pages(agent, 'leave', 'left', leftPages)
  await capture('two', 'one')
} finally {
  await machine.stop()
}
// The snapshots need nothing from outside the store.
rmSync(dataDisk)

/** Pages of the newest layer of an image that are of those which the guest left. */
async function leftIn(tag) {
  const snapshot = await store.open(tag)
  try {
    const { map, files } = snapshot
    const newest = files.length - 1
    const file = await open(files[newest].path)
    const found = []
    for (const [run, start] of map.starts.entries()) {
      if (map.sources[run] !== newest) continue
      const { content } = await readPages(file, map.storedStarts[run], map.counts[run])
      for (let at = 0; at < map.counts[run]; at++) if (isLeft(content, at)) found.push(start + at)
    }
    await file.close()
    return found
  } finally {
    await snapshot[Symbol.asyncDispose]()
  }
}

const readPages = async (file, first, count) => {
  const content = Buffer.alloc(count * 4096)
  await file.read(content, 0, content.length, first * 4096)
  return { content }
}
const leftName = 'left'.padEnd(8)
const isLeft = (content, at) => content.toString('latin1', at * 4096, at * 4096 + 8) === leftName

/** Waits until the guest's own total is as expected: its driver takes the balloon's pages out of it. */
async function memTotalBecomes(agent, fits) {
  for (const deadline = Date.now() + 60_000; ; await sleep(200)) {
    const { MemTotal } = (await agent.memory()).meminfoKib
    if (fits(MemTotal)) return MemTotal
    if (Date.now() > deadline) throw new Error(`the guest's MemTotal stays at ${MemTotal} KiB`)
  }
}

/** The guest gives memory back, is captured, and takes the memory again. */
async function balloon(clone, pageServer) {
  const begin = performance.now()
  const agent = guestAgent(clone)
  const total = (await agent.memory()).meminfoKib.MemTotal
  const before = await pageServer.stats()
  await clone.api.patchBalloon({ amount_mib: balloonMib })
  // Faults and removals at the same time.
  const freshBeside = await pages(agent, 'fresh', 'beside', freshPages)
  await memTotalBecomes(agent, (it) => it <= total - balloonMib * 1024)
  const after = await pageServer.stats()
  const paused = await clone.pause()
  await captureSnapshot(paused, { store, tags: ['inflated'], parent: 'two' })
  // All of memory, which has Firecracker ask for every page that is missing.
  const [statePath, memoryPath] = ['full.state', 'full'].map((name) => join(scratch, name))
  await paused.snapshot({ type: 'Full', statePath, memoryPath })
  // Nothing has run since: what is in this Diff is the virtio rings, which
  // Firecracker marks after each snapshot.
  const rings = join(scratch, 'rings')
  await paused.snapshot({ type: 'Diff', statePath: `${rings}.state`, memoryPath: rings })
  const counts = countPages((await indexMemoryFile(rings, { kind: 'diff' })).index)
  result.diffAfterFullPages = counts.data + counts.zero
  const running = await paused.resume()
  const heldInflated = await heldRight(agent)
  await running.api.patchBalloon({ amount_mib: 0 })
  await memTotalBecomes(agent, (it) => it === total)
  const freshAfter = await pages(agent, 'fresh', 'after', 2 * freshPages)
  const full = await open(memoryPath)
  const left = await leftIn('two')
  const found = { zero: 0, left: 0, other: 0 }
  for (const page of left) {
    const { content } = await readPages(full, page, 1)
    found[isLeft(content, 0) ? 'left' : content.every((byte) => byte === 0) ? 'zero' : 'other']++
  }
  await full.close()
  result.balloon = {
    removedPages: [before.removedPages, after.removedPages],
    fresh: [freshBeside, freshAfter],
    held: [heldInflated, await heldRight(agent)],
    left: left.length,
    found,
    stats: await pageServer.stats(),
    ms: Math.round(performance.now() - begin),
  }
}

const restores = []
for (const [tag, engine] of [
  // Each emulated restore takes some 10 s; the two clones below come from the newest by the file engine.
  ['base', 'file'],
  ['one', 'mapped'],
  ['two', 'paged'],
]) {
  const { machine: clone, pageServer } = await restoreMachine(store, tag, { engine })
  try {
    const agent = guestAgent(clone)
    const state = await stateOf(agent)
    // Written to the clone's own disk, and seen by no other VM.
    await keep(agent, 'clone.txt', `${tag}-${engine}`)
    await synced(agent)
    restores.push({
      tag,
      engine,
      state,
      own: (await stateOf(agent)).includes(`clone.txt ${tag}-${engine}`),
    })
    if (pageServer !== undefined) await balloon(clone, pageServer)
  } finally {
    await clone.stop()
  }
}
// Two at once from one snapshot, of the guest whose balloon was full.
const clones = await Promise.all(['a', 'b'].map(() => restoreMachine(store, 'inflated', { engine: 'file' })))
try {
  const agents = clones.map(({ machine: clone }) => guestAgent(clone))
  for (const [i, agent] of agents.entries()) {
    await keep(agent, 'mine.txt', `clone-${i}`)
    await synced(agent)
  }
  result.clones = []
  for (const agent of agents)
    result.clones.push({
      mine: /mine\.txt (\S+)/.exec(await stateOf(agent))?.[1],
      held: await heldRight(agent),
      fresh: await pages(agent, 'fresh', 'clone', freshPages),
    })
} finally {
  for (const { machine: clone } of clones) await clone.stop()
}
result.restores = restores
// Blobs are named by their digests, and all are read: none has changed.
result.fsck = (await store.fsck()).findings.filter(({ severity }) => severity === 'error')
result.diskStayedAway = !existsSync(dataDisk)
result.machinesLeft = listMachines().length
writeFileSync(process.env.VARVE_LAB_RESULT, JSON.stringify(result))
