// Makes the pictures of docs/guides/working-sets.md: a micro guest is restored, reads and writes in four phases, is recorded, and
// the set is drawn by class and by time. `node scripts/working-set-pictures.mjs [DIRECTORY]`; build first.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { bootMicroGuest, MicroConsole } from '@varve/lab'
import {
  captureSnapshot,
  classify,
  findFirecracker,
  groupMapPng,
  heatMapPng,
  onProcessEnd,
  openLocalStore,
  pagesFrom,
  presentPages,
  restoreMachine,
  zeroSource,
} from 'varve'

const out = process.argv[2] ?? fileURLToPath(new URL('../docs/guides/images', import.meta.url))
const memoryMib = 256
const directory = mkdtempSync('/var/tmp/varve-pictures-')
onProcessEnd(() => rmSync(directory, { recursive: true, force: true }))
const store = await openLocalStore(join(directory, 'store'), { create: true })
const launch = { binary: await findFirecracker(), runtimeDirectory: join(directory, 'run') }

const phases = [
  (guest) => guest.read({ start: 2048, count: 6000 }),
  (guest) => guest.read({ start: 12_000, count: 4000, stride: 5, order: 3 }),
  (guest) => guest.write({ start: 9000, count: 2500 }, 2),
  async (guest) => {
    await guest.write({ start: 34_000, count: 700, stride: 19, order: 4 }, 3)
    await guest.read({ start: 52_000, count: 3000 })
  },
]

const booted = await bootMicroGuest({ memoryMib, ...launch })
try {
  await booted.console.write({ start: 1024, count: 44_000 }, 1)
  await captureSnapshot(await booted.machine.pause(), { store, tags: ['base'] })
} finally {
  await booted.console[Symbol.asyncDispose]()
  await booted.machine.stop()
}
const { machine, recording } = await restoreMachine(store, 'base', {
  ...launch,
  record: { recorders: ['pagemap'] },
})
const guest = MicroConsole.attach(machine.paths)
try {
  for (const phase of phases) {
    await phase(guest)
    await recording.scan()
  }
  const { workingSet } = await recording.stop()
  const snapshot = await store.open('base')
  const { map } = snapshot
  const zero = pagesFrom(map, zeroSource)
  await snapshot[Symbol.asyncDispose]()
  const { readOnly, written, pages, groups } = workingSet
  const classes = classify({ present: readOnly, written, zero, pages })
  mkdirSync(out, { recursive: true })
  writeFileSync(join(out, 'working-set-classes.png'), heatMapPng(classes))
  writeFileSync(join(out, 'working-set-groups.png'), groupMapPng(workingSet))
  console.error(
    `${presentPages(workingSet).pages} pages in ${groups.length} groups, ${written.pages} written; ${out}`,
  )
} finally {
  await recording[Symbol.asyncDispose]()
  await guest[Symbol.asyncDispose]()
  await machine.stop()
}
