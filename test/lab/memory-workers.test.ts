import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, readlinkSync, readSync, writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type CountedPage, faultsOfInstant } from '../support/counted-pages.js'

// What the guests of several vCPUs run (test/support/several-vcpus.ts), here: it has to find what is wrong.

const path = fileURLToPath(new URL('../nested-lab/memory-workers.py', import.meta.url))
const loop = `import json, sys
scope = {}
exec(open(${JSON.stringify(path)}).read(), scope)
for line in sys.stdin:
    print(json.dumps({"report": json.loads(scope["handle"](line.encode())), "pids": scope["state"]["pids"]}), flush=True)
`

interface Answer {
  readonly report: {
    readonly mark: string | null
    readonly workers: readonly {
      readonly running: boolean
      readonly rounds: number
      readonly wrong: number
      readonly first: readonly number[]
    }[]
  }
  readonly pids: readonly number[]
}

let child: ChildProcess
let lines: AsyncIterator<string>
let pids: readonly number[] = []
beforeEach(() => {
  child = spawn('python3', ['-c', loop], { stdio: ['pipe', 'pipe', 'inherit'] })
  lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]()
})
afterEach(async () => {
  for (const pid of pids) if (runs(pid)) process.kill(pid, 'SIGKILL')
  pids = []
  child.stdin?.end()
  if (child.exitCode === null) await once(child, 'exit')
})

/** Python’s processes are told from others that got their numbers. */
function runs(pid: number): boolean {
  try {
    return readlinkSync(`/proc/${pid}/exe`).includes('python')
  } catch {
    return false
  }
}

async function ask(words: string): Promise<Answer['report']> {
  child.stdin?.write(`${words}\n`)
  const answer = JSON.parse((await lines.next()).value) as Answer
  pids = answer.pids
  return answer.report
}

async function untilRounds(rounds: number): Promise<Answer['report']> {
  for (;;) {
    const report = await ask('report')
    if (report.workers.every((it) => it.rounds >= rounds)) return report
    await sleep(10)
  }
}

interface Mapping {
  readonly start: number
  readonly bytes: number
}

/** Memory that a process may write: its own, or what it shares. */
function mappingsOf(pid: number, shared: boolean): Mapping[] {
  return readFileSync(`/proc/${pid}/maps`, 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [, from, to, kind] = /^(\w+)-(\w+) rw-([ps]) /.exec(line) ?? []
      if (from === undefined || (kind === 's') !== shared) return []
      const start = Number.parseInt(from, 16)
      return [{ start, bytes: Number.parseInt(to as string, 16) - start }]
    })
}

/** Stops the processes, and waits until each has stopped. */
function stopAll(): void {
  for (const pid of pids) process.kill(pid, 'SIGSTOP')
  for (const pid of pids) while (!/^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')));
}

/**
 * Overwrites the first 8 bytes of the page that a check of its first 16 finds, in private or in shared
 * memory.
 */
function spoil(
  pid: number,
  shared: boolean,
  isIt: (words: DataView) => boolean,
  by: (words: DataView) => Buffer,
): void {
  const memory = openSync(`/proc/${pid}/mem`, 'r+')
  try {
    for (const mapping of mappingsOf(pid, shared)) {
      const { start } = mapping
      const bytes = new Uint8Array(mapping.bytes)
      const read = readSync(memory, bytes, 0, bytes.length, start)
      for (let at = 0; at < read; at += 4096) {
        const words = new DataView(bytes.buffer, at, 16)
        if (!isIt(words)) continue
        writeSync(memory, by(words), 0, 8, start + at)
        return
      }
    }
    throw new Error('no such page')
  } finally {
    closeSync(memory)
  }
}

test('two processes go on with the right content', async () => {
  await ask('start 2 32')
  const { workers } = await untilRounds(5)
  expect(workers.map(({ running, wrong }) => ({ running, wrong }))).toEqual([
    { running: true, wrong: 0 },
    { running: true, wrong: 0 },
  ])
  expect((await ask('mark here')).mark).toBe('here')
})

test('a page that changed by itself is found, and told', async () => {
  await ask('start 2 32')
  const { workers } = await untilRounds(3)
  expect(workers.map(({ wrong }) => wrong)).toEqual([0, 0])
  const [stopped] = pids as [number]
  process.kill(stopped, 'SIGSTOP')
  const isCommonPage5 = (words: DataView) =>
    words.getBigUint64(0, true) === 2n ** 63n && words.getBigUint64(8, true) === 5n
  spoil(stopped, true, isCommonPage5, () => Buffer.alloc(8, 0xee))
  process.kill(stopped, 'SIGCONT')
  const after = await untilRounds(Math.max(...workers.map(({ rounds }) => rounds)) + 20)
  for (const worker of after.workers) {
    expect(worker.running).toBe(true)
    expect(worker.wrong).toBeGreaterThan(0)
    expect([worker.first[0], worker.first[2]]).toEqual([2, 5])
  }
})

test('a page of an earlier round, as an older layer has it, is found', async () => {
  await ask('start 1 2048')
  await untilRounds(3)
  const [pid] = pids as [number]
  process.kill(pid, 'SIGSTOP')
  const isOwnPage7 = (words: DataView) => words.getUint32(0, true) === 1 && words.getBigUint64(8, true) === 7n
  let round = 0
  spoil(pid, false, isOwnPage7, (words) => {
    round = words.getUint32(4, true)
    const older = Buffer.alloc(8)
    older.writeUInt32LE(1, 0)
    older.writeUInt32LE(round - 1, 4)
    return older
  })
  process.kill(pid, 'SIGCONT')
  expect((await untilRounds(round + 3)).workers).toEqual([
    expect.objectContaining({ running: true, wrong: 1, first: [1, round, 7] }),
  ])
})

test('a process that has ended is told', async () => {
  await ask('start 2 32')
  await untilRounds(1)
  process.kill(pids[1] as number, 'SIGKILL')
  for (let again = 0; again < 2; again++) {
    const { workers } = await ask('report')
    if (workers[1]?.running) again--
    else expect(workers.map(({ running }) => running)).toEqual([true, false])
  }
})

const isCounted = Buffer.from('counted!').readBigUInt64LE()

/** The counted pages as a process has them now, read one page after another. */
function countedOf(pid: number): CountedPage[] {
  const memory = openSync(`/proc/${pid}/mem`, 'r')
  try {
    const words = Buffer.alloc(32)
    return mappingsOf(pid, true).flatMap(({ start, bytes }) => {
      const found: CountedPage[] = []
      for (let at = start; at < start + bytes; at += 4096) {
        readSync(memory, words, 0, words.length, at)
        if (words.readBigUInt64LE() !== isCounted) return found
        const [worker, place, number] = [8, 16, 24].map((it) => Number(words.readBigUInt64LE(it)))
        found.push([worker as number, place as number, number as number])
      }
      return found
    })
  } finally {
    closeSync(memory)
  }
}

test.each([1, 3])(
  'the counted pages of %i processes that stand still contradict nothing; read while these run, they do',
  async (workers) => {
    await ask(`start ${workers} 32`)
    await untilRounds(3)
    for (let stop = 0; stop < 20; stop++) {
      stopAll()
      expect(faultsOfInstant(countedOf(pids[0] as number), workers)).toEqual([])
      for (const pid of pids) process.kill(pid, 'SIGCONT')
      await sleep(stop)
    }
    const found: string[] = []
    // On a busy machine a reading and the steps of a process may take turns for seconds.
    const until = performance.now() + 60_000
    for (let read = 0; performance.now() < until && found.length === 0; read++) {
      found.push(...faultsOfInstant(countedOf(pids[0] as number), workers))
      await sleep(read % 4)
    }
    expect(found[0]).toMatch(/^worker \d: /)
  },
)

test('a counted page of another instant is found', async () => {
  await ask('start 2 32')
  await untilRounds(3)
  stopAll()
  const right = countedOf(pids[0] as number)
  expect(faultsOfInstant(right, 2)).toEqual([])
  // What the other one's number was at the oldest step, no other page says.
  for (const [index, [worker, place, number]] of right.entries())
    for (const by of place > 32 ? [1e9] : [-1e9, 1e9]) {
      const found = right.with(index, [worker, place, number + by])
      expect(faultsOfInstant(found, 2), `page ${place} of worker ${worker}, by ${by}`).not.toEqual([])
    }
  expect(faultsOfInstant(right.slice(1), 2)).toEqual(['129 counted pages (129 different ones) of 2 workers'])
  const [first] = right as [CountedPage]
  expect(faultsOfInstant(right.with(1, first), 2)).toEqual([
    '130 counted pages (129 different ones) of 2 workers',
  ])
})

test('a number that another process had not reached is found', async () => {
  await ask('start 2 32')
  await untilRounds(3)
  stopAll()
  const before = countedOf(pids[1] as number)
  for (const pid of pids) process.kill(pid, 'SIGCONT')
  await untilRounds(Math.max(...(await ask('report')).workers.map(({ rounds }) => rounds)) + 3)
  stopAll()
  const after = countedOf(pids[1] as number)
  // Each worker is of one instant, but not of the same one.
  const mixed = [...after.filter(([worker]) => worker === 0), ...before.filter(([worker]) => worker === 1)]
  const [fault, ...others] = faultsOfInstant(mixed, 2)
  expect(fault).toMatch(/^worker 0: it saw \d+ of the next worker, whose newest is \d+$/)
  expect(others).toEqual([])
})
