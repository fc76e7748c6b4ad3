// `npm run bench:capture`: how long a guest stands still for a snapshot, written by Firecracker (`stop`) or
// taken live, in turns, of the same machine.
//   memory   256 MiB, 2 GiB and 8 GiB of guest memory, of which only what is written is there
//   written  MiB that the guest has written since its last snapshot, a word in each page; 0: an empty Diff
// For each: `requester`, from the call's request to pause to the end of its request to resume; `guest`, the
// longest time between two answers of the guest to a ping, less the median time; `sealed`, until the snapshot
// is in the store. After a live capture the guest writes the same pages again at once: `rewrite`, how much
// longer that takes than after `stop`, and how much memory the copies take then.
//   --rounds N   default 6     --memory LIST   MiB     --written LIST   MiB
//   --write      raw rows into docs/results     --out DIR   into DIR     --rows FILE   into FILE
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { bootMicroGuest, type MicroConsole, type MicroGuest, type TouchPattern } from '@varve/lab'
import {
  findFirecracker,
  formatFirecrackerVersion,
  frozenMemory,
  type LocalStore,
  openLocalStore,
  takeSnapshot,
} from 'varve'
import { loadNow, thisMachine } from '../common/machine.js'
import { middle, thousandths, turned } from '../common/numbers.js'
import { resultOptions, say, writeResults } from '../common/results.js'
import { openScratch } from '../common/scratch.js'
import { type CaptureRow, captureParts, type Way, wayNames } from './capture-table.js'

const pagesMib = 256
/** Behind the micro guest's own pages. */
const firstPage = 1024

export async function benchCapture(argv: readonly string[]): Promise<void> {
  const { values: options } = parseArgs({
    args: [...argv],
    options: {
      rounds: { type: 'string' },
      memory: { type: 'string' },
      written: { type: 'string' },
      ...resultOptions,
    },
  })
  const rounds = Number(options.rounds ?? 6)
  const list = (text: string) => text.split(',').map(Number)
  const memories = list(options.memory ?? '256,2048,8192')
  const sizes = list(options.written ?? '0,1,16,64,256,1536')
  using scratch = openScratch()
  const launch = { binary: await findFirecracker(), runtimeDirectory: scratch.path('run') }
  const store = await openLocalStore(scratch.path('store'), { create: true })
  const rows: CaptureRow[] = []
  for (const memoryMib of memories) {
    await using guest = await bootMicroGuest({ memoryMib, ...launch })
    // The base, and a first capture of each kind, which no row counts.
    for (const way of wayNames) await measured(guest, store, way, { start: firstPage, count: 16 })
    for (const writtenMib of sizes.filter((it) => it <= memoryMib - 16))
      for (let round = 1; round <= rounds; round++) {
        say(`${memoryMib} MiB, ${writtenMib} MiB written, round ${round} of ${rounds}`)
        const pages = { start: firstPage, count: writtenMib * pagesMib }
        for (const way of turned(wayNames, round)) {
          const found = await measured(guest, store, way, pages)
          rows.push({ memoryMib, writtenMib, round, way, load: loadNow(), ...found })
        }
      }
  }
  const parts = captureParts(rows, rounds, formatFirecrackerVersion(launch.binary.version))
  process.stdout.write(`${parts['capture machine']}\n\n${parts['capture table']}\n`)
  const environment = { ...thisMachine(), firecracker: launch.binary.version, rounds }
  writeResults({ name: 'live-capture', page: 'capture', rows: [environment, ...rows], parts }, options)
}

type Found = Omit<CaptureRow, 'memoryMib' | 'writtenMib' | 'round' | 'way' | 'load'>

async function measured(
  { machine, console: guest }: MicroGuest,
  store: LocalStore,
  way: Way,
  pages: TouchPattern,
): Promise<Found> {
  const write = async () => {
    const begin = performance.now()
    if (pages.count > 0) await guest.write(pages, 1)
    return performance.now() - begin
  }
  await write()
  const pings = pinging(guest)
  await sleep(30)
  const begin = performance.now()
  const taken = await takeSnapshot(machine, { store, mode: way, tags: ['bench'] })
  const sealed = taken.seal().then((snapshot) => ({ snapshot, ms: performance.now() - begin }))
  const guestMs = await pings()
  const rewriteMs = await write()
  const copiedBytes = frozenMemory(machine).reduce((sum, it) => sum + it.copiedBytes, 0)
  const { ms } = await sealed
  // So that neither layers nor the disk fill up.
  await store.gc()
  return {
    how: taken.way.frozen?.how ?? null,
    heldMs: taken.way.frozen === null ? null : thousandths(taken.way.frozen.heldMs),
    requesterMs: thousandths(taken.standstillMs ?? Number.NaN),
    createMs: thousandths(taken.createMs),
    guestMs: thousandths(guestMs),
    sealedMs: thousandths(ms),
    rewriteMs: thousandths(rewriteMs),
    copiedMib: thousandths(copiedBytes / 2 ** 20),
  }
}

/**
 * Asks the guest again and again. The returned function ends that, and gives the longest wait beyond the
 * median.
 */
function pinging(guest: MicroConsole): () => Promise<number> {
  let stop = false
  const waits: number[] = []
  const done = (async () => {
    while (!stop) {
      const begin = performance.now()
      await guest.ping()
      waits.push(performance.now() - begin)
    }
  })()
  return async () => {
    stop = true
    await done
    return Math.max(...waits) - middle(waits)
  }
}
