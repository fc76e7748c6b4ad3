import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { openLocalStore } from 'varve'
import { afterEach, beforeEach, expect, test } from 'vitest'

const program = fileURLToPath(new URL('../../packages/bench/bin/bench.js', import.meta.url))

/** Of the long test. With a few seconds only, an action may not have had its turn. */
const seconds = Number(process.env.VARVE_STRESS_SECONDS ?? 60)

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(existsSync('/var/tmp') ? '/var/tmp' : tmpdir(), 'varve-stress-test-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

interface Stress {
  readonly child: ReturnType<typeof spawn>
  readonly ended: Promise<{ readonly status: number | null; readonly stdout: string }>
}

function stress(...args: string[]): Stress {
  const child = spawn(process.execPath, [program, 'stress', '--json', ...args], {
    env: { ...process.env, TMPDIR: directory },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let stdout = ''
  child.stdout?.setEncoding('utf8').on('data', (part: string) => {
    stdout += part
  })
  const ended = new Promise<{ status: number | null; stdout: string }>((resolve) =>
    child.once('close', (status) => resolve({ status, stdout })),
  )
  return { child, ended }
}

/** The directory of the run, once its store has what `ready` waits for. */
async function runOnce(ready: (run: string) => Promise<boolean>): Promise<string> {
  for (const deadline = Date.now() + 60_000; Date.now() < deadline; await sleep(50)) {
    const [name] = readdirSync(directory)
    if (name === undefined) continue
    const run = join(directory, name)
    if (await ready(run).catch(() => false)) return run
  }
  throw new Error('the run did not come up')
}

const tagsIn = async (run: string) =>
  (await (await openLocalStore(join(run, 'store'))).list()).flatMap(({ tags }) => tags)

test(
  'processes that do everything at random, and kill each other, lose nothing and leave nothing',
  async () => {
    const { stdout } = await stress('--seconds', String(seconds)).ended
    const { failures, counts, pages, seed } = JSON.parse(stdout)
    const shown = failures.map(({ what, ...rest }: { what: string }) => `${what}\n${JSON.stringify(rest)}`)
    expect(shown, `seed ${seed}`).toEqual([])
    for (const action of ['boot', 'capture', 'restore', 'clones', 'renew', 'gc', 'export', 'killWorker'])
      expect(counts[action]?.done, action).toBeGreaterThan(0)
    expect(pages).toBeGreaterThan(5000)
  },
  180_000 + seconds * 1000,
)

test('a tag that goes without having been removed fails the run', async () => {
  const { ended } = stress('--seconds', '8', '--processes', '2', '--only', 'boot,capture,touch')
  const run = await runOnce(async (it) => (await tagsIn(it)).length > 2)
  const [tag = ''] = await tagsIn(run)
  await (await openLocalStore(join(run, 'store'))).removeTag(tag)
  const { status, stdout } = await ended
  expect(status).toBe(1)
  const { failures, logs } = JSON.parse(stdout)
  expect(failures).toEqual([{ what: `tag ${tag} was given, never removed, and is gone` }])
  expect(readdirSync(logs)).toContain('w0-0.jsonl')
}, 120_000)

test('Ctrl-C ends a run with all its processes and files', async () => {
  const { child, ended } = stress('--seconds', '60', '--processes', '3')
  const run = await runOnce(async (it) => (await tagsIn(it)).length > 2)
  child.kill('SIGINT')
  expect((await ended).status).toBe(130)
  expect(readdirSync(directory)).toEqual([])
  expect(processesWith(run)).toEqual([])
}, 120_000)

/** Living processes whose environment or command line names the run. */
function processesWith(run: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false
    try {
      return ['environ', 'cmdline'].some((name) =>
        readFileSync(`/proc/${pid}/${name}`, 'latin1').includes(run),
      )
    } catch {
      return false
    }
  })
}
