import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { expect, test } from 'vitest'
import { nativeAgent } from './agent-fixture.js'
import { guestAgent } from './guest-agent.js'

/** More than the 64 that the agent serves at once. */
const clients = 100
const callsEach = 10

test('1,000 quick calls of 100 clients leave neither descriptors nor processes', async () => {
  await using native = await nativeAgent()
  /** What the agent has once it has seen the ends of its connections and children. */
  const settled = async () => {
    const now = () => ({
      descriptors: readdirSync(`/proc/${native.pid}/fd`).length,
      children: readFileSync(`/proc/${native.pid}/task/${native.pid}/children`, 'utf8'),
    })
    let last = now()
    for (let same = 0; same < 20; await sleep(10)) {
      const next = now()
      same = isDeepStrictEqual(next, last) ? same + 1 : 0
      last = next
    }
    return last
  }
  await native.agent.exec(['true'])
  const before = await settled()
  expect(before.children).toBe('')
  await Promise.all(
    Array.from({ length: clients }, async (_, client) => {
      const agent = guestAgent(native.address)
      for (let n = 0; n < callsEach; n++) {
        const text = `${client} ${n}`
        const path = join(native.directory, String(client))
        if (n % 5 === 0) expect((await agent.exec(['echo', text])).stdout.toString()).toBe(`${text}\n`)
        else if (n % 5 === 1) expect(await agent.put(path, text)).toBe(text.length)
        else if (n % 5 === 2) expect((await agent.readFile(path)).toString()).toBe(`${client} ${n - 1}`)
        else if (n % 5 === 3) expect(await agent.ping()).toMatchObject({ pid: native.pid })
        else expect(await agent.functions.list()).toEqual([])
      }
    }),
  )
  expect(await settled()).toEqual(before)
}, 60_000)
