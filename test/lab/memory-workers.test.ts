import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync, readlinkSync, readSync, writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'

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
    for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
      const [, from, to, kind] = /^(\w+)-(\w+) rw-([ps]) /.exec(line) ?? []
      if (from === undefined || (kind === 's') !== shared) continue
      const start = Number.parseInt(from, 16)
      const bytes = new Uint8Array(Number.parseInt(to as string, 16) - start)
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
