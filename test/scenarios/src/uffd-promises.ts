import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { restoreMicroGuest, rewrittenOnLoad } from '@varve/lab/testing'
import { pagesOf } from 'varve/working-sets'
import { makeThreeLayers, threeLayersMib } from './layered-restore.js'
import type { Facts, Scenario, ScenarioContext } from './runner/scenario.js'

/** What the load touches, and how Firecracker registered its memory, before the guest's first instruction. */
async function loadFaults(context: ScenarioContext): Promise<Facts> {
  const { two } = await makeThreeLayers(context)
  await using guest = await restoreMicroGuest(context, two, {
    engine: 'paged',
    resume: false,
    beforeLoad: async ({ faults }) => {
      await faults?.record({ writes: false })
    },
  })
  const { machine, pageServer } = guest
  assert.ok(pageServer)
  const { touched } = await pageServer.recorded()
  const pages = [...pagesOf(touched)]
  const names = Object.entries(rewrittenOnLoad)
  const named = names.filter(([, page]) => pages.includes(page)).map(([name]) => name)
  assert.ok(named.includes('VMGenID'))
  assert.equal(named.length, pages.length, `nothing else is touched: ${pages}`)
  const registered = registeredKib(machine.pid)
  assert.deepEqual(registered, { missing: threeLayersMib * 1024, writeProtect: 0, minor: 0 })
  return { faultsOfTheLoad: pages, named, registeredKib: registered }
}

/** Memory of a process by userfaultfd mode: VmFlags um, uw, ui of /proc/PID/smaps (proc(5)). */
function registeredKib(pid: number): { missing: number; writeProtect: number; minor: number } {
  const kib = { missing: 0, writeProtect: 0, minor: 0 }
  let size = 0
  for (const line of readFileSync(`/proc/${pid}/smaps`, 'utf8').split('\n')) {
    size = Number(/^Size:\s+(\d+) kB/.exec(line)?.[1] ?? size)
    const flags = /^VmFlags:(.*)/.exec(line)?.[1]?.trim().split(' ') ?? []
    if (flags.includes('um')) kib.missing += size
    if (flags.includes('uw')) kib.writeProtect += size
    if (flags.includes('ui')) kib.minor += size
  }
  return kib
}

/** Far longer than a pass takes while pages are served. Nothing could end the wait but the server. */
const stoppedMs = 1500

/** A page server that does not answer: nothing times out, nothing makes pages up. */
async function waits(context: ScenarioContext): Promise<Facts> {
  const { two } = await makeThreeLayers(context)
  await using guest = await restoreMicroGuest(context, two, { engine: 'paged' })
  const { machine, pageServer, console } = guest
  assert.ok(pageServer)
  await console.ping()
  const faultsBefore = (await pageServer.stats()).faults
  process.kill(pageServer.identity.pid, 'SIGSTOP')
  let finished = false
  const pass = console
    .verify({ start: 1024, count: 1000, order: 3 }, 1, { timeoutMs: 120_000 })
    .then((it) => {
      finished = true
      return it
    })
  try {
    await sleep(stoppedMs)
    assert.equal(finished, false, 'the guest stands still')
    assert.equal((await machine.info()).state, 'Running', 'Firecracker does not know, and answers')
  } finally {
    process.kill(pageServer.identity.pid, 'SIGCONT')
  }
  assert.equal(await pass, 1000, 'the guest goes on where it stood, and its pages are right')
  return { stoppedMs, faultsAfter: (await pageServer.stats()).faults - faultsBefore }
}

export const uffdPromiseScenarios: readonly Scenario[] = [
  {
    name: 'uffd-load-faults',
    nativeIsEnough: true,
    claim:
      'with Uffd the load itself faults, on named pages; memory is registered for missing pages and nothing else',
    run: loadFaults,
  },
  {
    name: 'uffd-waits',
    nativeIsEnough: true,
    claim: 'a fault that nobody answers waits: no time-out, no zeros; answered late, the guest goes on',
    run: waits,
  },
]
