// Runs inside the nested lab, in two processes one after the other: `record NAME` makes a snapshot of a
// Linux guest with two functions and records each of them twice with every recorder into a store, with
// `record NAME quick` the shell's only once, and only Python's once by a page server; `use NAME` finds the
// sets again and restores with them.
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { guestAgent } from '@varve/guest'
import { guestInLab } from '@varve/lab'
import { bootMachine, captureSnapshot, listMachines, openLocalStore, restoreMachine } from 'varve'
import { compareSets, readWorkingSet, workingSetOf } from 'varve/working-sets'

// Emulated, a page server takes ten seconds to start: one for all restores here, and of the next script.
process.env.VARVE_PAGE_SERVER_LINGER_MS = '600000'
const [stage, storeName, quick] = process.argv.slice(2)
/** The lab's disk stays from one script to the next. */
const storePath = join(process.env.TMPDIR, storeName)
const memoryMib = 192

const orders = Array.from({ length: 200 }, (_, i) => ({
  sku: `sku-${(i * 7919) % 23}`,
  quantity: 1 + ((i * 31) % 9),
  cents: 100 + ((i * 733) % 5000),
}))
const totals = {}
for (const { sku, quantity, cents } of orders) totals[sku] = (totals[sku] ?? 0) + quantity * cents
const report = Object.entries(totals).sort(([a], [b]) => (a < b ? -1 : 1))

const functions = {
  hello: {
    program: '#!/bin/sh\nread -r name\necho "hello, $name"\n',
    input: 'guest\n',
    output: 'hello, guest\n',
  },
  report: {
    program: readFileSync('report.py'),
    input: JSON.stringify(orders),
    output: JSON.stringify(report),
  },
}

/**
 * Who watches a restored VM: recorders of one line watch the same run, and each set that is kept comes from
 * some of them. In this order, as the memory file is in the page cache until `mincore` drops it, and that
 * makes a difference (docs/notes/async-page-faults.md).
 */
const setups = [
  { engine: 'file', cache: 'warm', recorders: ['pagemap', 'diff'], set: ['pagemap'] },
  { engine: 'file', cache: 'dropped', recorders: ['mincore', 'pagemap', 'diff'], set: ['mincore', 'diff'] },
  { engine: 'paged', cache: null, recorders: ['faults', 'diff'], set: ['faults'] },
]
const runsOf = (name, engine) =>
  quick === undefined || (name === 'report' && engine === 'file')
    ? [1, 2]
    : name === 'report' || engine === 'file'
      ? [1]
      : []
const nameOf = (name, recorders, run) => `${name}.${recorders.join('-')}.${run}`

async function invoke(machine, name) {
  const { input, output } = functions[name]
  const { stdout } = await guestAgent(machine).exec([`/run/${name}`], { input, timeoutMs: 60_000 })
  return stdout.toString('utf8') === output
}

async function takeBase(store) {
  const machine = await bootMachine({
    kernel: guestInLab.kernel,
    initrd: guestInLab.initrd,
    bootArgs: guestInLab.bootArgs,
    rootDisk: { path: guestInLab.rootDisk, readOnly: true },
    memoryMib,
    vcpus: 1,
    vsockCid: 3,
  })
  try {
    const agent = guestAgent(machine)
    await agent.ping({ timeoutMs: 90_000 })
    const right = []
    for (const [name, { program }] of Object.entries(functions)) {
      await agent.put(`/run/${name}`, program, { mode: 0o755 })
      right.push(await invoke(machine, name))
    }
    await captureSnapshot(await machine.pause(), { store, tags: ['base'] })
    return { right }
  } finally {
    await machine.stop()
  }
}

async function recordOnce(store, name, { engine, recorders, set }, run) {
  asyncFaults()
  // Emulated, there is one CPU: looking for growth every 4 ms, as is usual, takes a
  // good part of it from the guest.
  const record = { recorders, pollMs: 100, notes: { function: name } }
  const { machine, recording } = await restoreMachine(store, 'base', { engine, record })
  try {
    const right = await invoke(machine, name)
    const { recorded } = await recording.stop()
    const { entry, config } = await store.describe('base')
    const of = recorded.filter(({ recorder }) => set.includes(recorder))
    const about = { image: entry.id, pages: config.memoryPages, notes: { function: name } }
    const workingSet = workingSetOf(of, about)
    const setName = nameOf(name, set, run)
    await store.saveWorkingSet('base', setName, workingSet)
    const saved = inNumbers(setName, workingSet)
    return { right, faults: { major: majorFaults(machine.pid), async: asyncFaults() }, recorded, saved }
  } finally {
    await machine.stop()
  }
}

async function record() {
  const store = await openLocalStore(storePath, { create: true })
  const result = { base: await takeBase(store), rows: [], comparisons: [], sets: [] }
  writeFileSync(`${tracing}/events/kvm/kvm_async_pf_completed/enable`, '1')
  const seen = []
  // Made by the first restore on a memory file; then all of it is in the page cache.
  const { machine } = await restoreMachine(store, 'base', { engine: 'file', resume: false })
  await machine.stop()
  for (const setup of setups)
    for (const name of Object.keys(functions))
      for (const run of runsOf(name, setup.engine)) {
        const begin = performance.now()
        const { right, faults, recorded, saved } = await recordOnce(store, name, setup, run)
        result.sets.push(saved)
        const ms = Math.round(performance.now() - begin)
        console.log(`${name}, ${setup.engine} by ${setup.recorders.join(' and ')}, run ${run}: ${ms} ms`)
        for (const { recorder, present, written, exact, groups, notes } of recorded) {
          const { engine, cache } = setup
          const who = { function: name, engine, cache, recorder, run }
          seen.push({ who, present, written })
          result.rows.push({
            ...who,
            right,
            present: present?.pages ?? null,
            written: written?.pages ?? null,
            exact,
            groups: groups.length,
            faults,
            notes,
          })
        }
      }
  for (const [i, a] of seen.entries())
    for (const b of seen.slice(i + 1))
      if (a.who.function === b.who.function) result.comparisons.push(...comparisonsOf(a, b))
  return result
}

function comparisonsOf(a, b) {
  return ['present', 'written']
    .filter((kind) => a[kind] !== null && b[kind] !== null)
    .map((kind) => ({ kind, a: a.who, b: b.who, ...compareSets(a[kind], b[kind]) }))
}

/** What is left of a set when it is told outside. */
const inNumbers = (name, { image, readOnly, written, groups, notes }) => ({
  name,
  image,
  readOnly: readOnly.pages,
  written: written.pages,
  groups: groups.map(({ atMs, set }) => [atMs, set.pages]),
  notes,
})

const tracing = '/sys/kernel/debug/tracing'
/** Pages that a worker of KVM has fetched alongside the guest, since the last call. */
function asyncFaults() {
  const trace = readFileSync(`${tracing}/trace`, 'latin1')
  writeFileSync(`${tracing}/trace`, '')
  return trace.split('kvm_async_pf_completed:').length - 1
}

/** Faults of the VMM that had to wait for a disk: field 12 of proc_pid_stat(5), counted behind the name. */
function majorFaults(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[9])
}

async function restoreWith(store, name, options) {
  writeFileSync('/proc/sys/vm/drop_caches', '1')
  const { machine, report: did, prefetching } = await restoreMachine(store, 'base', options)
  try {
    const prefetched = (await prefetching) ?? null
    const right = await invoke(machine, name)
    return { ...options, right, majorFaults: majorFaults(machine.pid), used: did.workingSet, prefetched }
  } finally {
    await machine.stop()
  }
}

async function use() {
  const store = await openLocalStore(storePath)
  const result = { sets: [], restores: [] }
  const snapshot = await store.open('base')
  try {
    for (const { name, path } of snapshot.workingSetFiles)
      result.sets.push(inNumbers(name, await readWorkingSet(path)))
  } finally {
    await snapshot[Symbol.asyncDispose]()
  }
  for (const [engine, recorders] of [
    ['file', ['pagemap']],
    ['paged', ['faults']],
  ]) {
    const begin = performance.now()
    const options = { engine, workingSet: nameOf('report', recorders, 1), prefetch: 'before' }
    result.restores.push(await restoreWith(store, 'report', options))
    console.log(`report, ${engine}, with a set: ${Math.round(performance.now() - begin)} ms`)
  }
  result.machinesLeft = listMachines().length
  return result
}

const result = await (stage === 'record' ? record() : use())
writeFileSync(process.env.VARVE_LAB_RESULT, JSON.stringify(result))
