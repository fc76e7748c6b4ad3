// One of several processes that give one machine name again and again, and list machines: node name-race.mjs
// RUNTIME MS Prints how often it had the name, and how often its directory went while it was alive.
import { spawnSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { listMachines } from 'varve'
import { changeRecord, claimMachineDirectory, processIdentity } from 'varve/testing'

const [runtime, milliseconds] = process.argv.slice(2)
const self = processIdentity(process.pid)
const dead = { pid: spawnSync('true').pid, startTime: 1 }
let [had, lost] = [0, 0]
const until = performance.now() + Number(milliseconds)
while (performance.now() < until) {
  const record = {
    ...{ format: 'varve-machine', version: 1, id: 'race', createdAt: `${Math.random()}` },
    // Its VMM is this process, by pid and start time.
    ...{ boot: null, pidNamespace: null, process: self, owner: null, helpers: [] },
    ...{ firecrackerVersion: '1.12.1', dirtyTracking: false, vsockPath: null, jail: null },
    ...{ diskDirectory: null, leases: { memory: null, log: null }, snapshotId: null, snapshotsTaken: 0 },
    ...{ ranSince: false, origin: { kind: 'boot', from: '' } },
  }
  try {
    const { directory, owner } = claimMachineDirectory(runtime, record)
    owner.release()
    const mine = join(directory, `of-${process.pid}`)
    writeFileSync(mine, '')
    had++
    await sleep(Math.random() * 2)
    if (!existsSync(mine)) lost++
    // From here on any other process may end it.
    changeRecord(directory, record, () => ({ process: dead }))
  } catch (error) {
    if (error.code === 'ENOENT') lost++
    else if (error.code !== 'ALREADY_EXISTS') throw error
    listMachines(runtime)
  }
}
console.log(JSON.stringify({ had, lost }))
