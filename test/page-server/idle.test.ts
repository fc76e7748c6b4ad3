import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { ProcessIdentity } from 'varve'
import { expect, test } from 'vitest'
import {
  allPages,
  openPageServerWorld,
  ownRuntime,
  shuffled,
  wordOfPage,
  words,
} from '../support/page-server-world.js'

/** Of all its threads, in ms: utime and stime of proc(5), in ticks of 10 ms. */
function cpuMs({ pid }: ProcessIdentity): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) * 10
}

test('a server whose VMs ask for nothing uses no CPU, also directly after they asked for much', async () => {
  await using world = await openPageServerWorld({}, { runtime: ownRuntime })
  const { server } = await world.start()
  await world.attach()
  const order = shuffled(allPages)
  expect(await words(world, order)).toEqual(order.map(wordOfPage))
  // What V8 compiles of what was just run, and the thread that fetches sets, are ready by then.
  await sleep(2000)
  const before = cpuMs(server)
  await sleep(1000)
  expect(cpuMs(server) - before).toBeLessThanOrEqual(50)
})
