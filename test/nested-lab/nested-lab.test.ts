import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type NestedLab, openNestedLab } from '@varve/lab'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const here = (name: string) => fileURLToPath(new URL(name, import.meta.url))

interface WriteFaults {
  readonly pages: number
  readonly pml: string | null
  readonly tracked: { readonly afterSnapshot: number; readonly again: number }
  readonly untracked: { readonly afterSnapshot: number }
}

/**
 * Fetching packages and building images, when nothing is cached, and an emulated boot on a loaded machine.
 */
const openTimeoutMs = 600_000

let lab: NestedLab
let folder: string

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'varve-nested-'))
  lab = await openNestedLab()
}, openTimeoutMs)

afterAll(async () => {
  await lab?.close()
  rmSync(folder, { recursive: true, force: true })
})

describe('the nested lab', () => {
  test('has a KVM and Firecracker', async () => {
    const { exitCode, stderr, result } = await lab.run({ script: here('host-facts.mjs') })
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
    expect(result).toMatchObject({
      kvmDevice: true,
      userfaultfd: true,
      firecracker: { origin: '$FIRECRACKER', version: { major: 1 } },
    })
  })

  test('hands files in and out, and tells how a script ended', async () => {
    const bytes = Buffer.from(Array.from({ length: 700_001 }, (_, index) => (index * 7) % 251))
    const input = join(folder, 'input.bin')
    writeFileSync(input, bytes)
    const { exitCode, stdout, stderr, result, files } = await lab.run({
      script: {
        code: `
          import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs'
          const out = process.env.VARVE_LAB_OUTPUT
          mkdirSync(out + '/deep/er', { recursive: true })
          copyFileSync('data/input.bin', out + '/deep/er/copy.bin')
          writeFileSync(out + '/empty', '')
          writeFileSync(process.env.VARVE_LAB_RESULT, JSON.stringify({ args: process.argv.slice(2), env: process.env.GREETING }))
          console.log('to stdout')
          console.error('to stderr')
          process.exitCode = 3`,
      },
      args: ['one', 'two words'],
      env: { GREETING: 'hello' },
      files: { 'data/input.bin': input },
    })
    expect({ exitCode, stdout, stderr }).toEqual({
      exitCode: 3,
      stdout: 'to stdout\n',
      stderr: 'to stderr\n',
    })
    expect(result).toEqual({ args: ['one', 'two words'], env: 'hello' })
    expect(readFileSync(join(files, 'deep/er/copy.bin')).equals(bytes)).toBe(true)
    expect(readFileSync(join(files, 'empty'))).toHaveLength(0)
  })

  test('runs scripts side by side', async () => {
    const script = {
      code: `
        import { writeFileSync } from 'node:fs'
        setTimeout(() => writeFileSync(process.env.VARVE_LAB_RESULT, process.argv[2]), 200)`,
    }
    const results = await Promise.all(['1', '2', '3'].map((it) => lab.run({ script, args: [it] })))
    expect(results.map(({ result }) => result)).toEqual([1, 2, 3])
  })

  test('kills a script that takes too long, with what it started, and goes on', async () => {
    const script = {
      code: `
        import { spawn } from 'node:child_process'
        spawn('sleep', ['1234'])
        console.log('waiting')
        setInterval(() => {}, 1000)`,
    }
    await expect(lab.run({ script, timeoutMs: 6_000 })).rejects.toMatchObject({
      code: 'TIMEOUT',
      message: expect.stringContaining('last words: waiting'),
      details: { consoleLogPath: lab.consoleLogPath },
    })
    const { result } = await lab.run({ script: here('host-facts.mjs') })
    expect((result as { commands: string[] }).commands).not.toContain('sleep 1234')
  })

  test('an aborted run is INTERRUPTED', async () => {
    const controller = new AbortController()
    const pending = lab.run({
      script: { code: `console.log('up'); setInterval(() => {}, 1000)` },
      signal: controller.signal,
      onOutput: () => controller.abort(),
    })
    await expect(pending).rejects.toMatchObject({ code: 'INTERRUPTED' })
  })

  test('a run that is aborted while its files are sent is TIMEOUT if its signal timed out, and the lab goes on', async () => {
    const large = join(folder, 'large.bin')
    writeFileSync(large, Buffer.alloc(16 * 1024 * 1024))
    const aborted = lab.run({
      script: { code: '' },
      files: { 'large.bin': large },
      signal: AbortSignal.timeout(200),
    })
    await expect(aborted).rejects.toMatchObject({ code: 'TIMEOUT' })
    expect((await lab.run({ script: { code: `console.log('well')` } })).stdout).toBe('well\n')
  })

  test('after a Diff each first write to a page faults, if there is no PML, and only then', async () => {
    const { exitCode, stderr, result } = await lab.run({ script: here('write-faults.mjs') })
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' })
    const { pages, pml, tracked, untracked } = result as WriteFaults
    const few = pages / 10
    if (pml === 'Y') expect(tracked.afterSnapshot).toBeLessThan(few)
    else expect(tracked.afterSnapshot).toBeGreaterThanOrEqual(pages)
    expect(tracked.again).toBeLessThan(few)
    expect(untracked.afterSnapshot).toBeLessThan(few)
  })

  test('closing it leaves the console log and nothing else', async () => {
    const processes = qemuProcesses(lab.consoleLogPath)
    expect(processes).toHaveLength(1)
    await lab.close()
    expect(qemuProcesses(lab.consoleLogPath)).toEqual([])
    expect(existsSync(lab.consoleLogPath)).toBe(true)
    await expect(lab.run({ script: { code: '' } })).rejects.toMatchObject({ code: 'LAB_FAILED' })
  })
})

describe.each(['SIGINT', 'SIGKILL'] as const)('a lab whose opener gets %s', (signal) => {
  test(
    'ends too',
    async () => {
      const temporary = mkdtempSync(join(folder, 'opener-'))
      const opener = spawn(process.execPath, [here('open-and-wait.mjs')], {
        stdio: ['ignore', 'pipe', 'inherit'],
        env: { ...process.env, TMPDIR: temporary },
      })
      const log = await new Promise<string>((resolve, reject) => {
        opener.stdout.once('data', (chunk: Buffer) => resolve(chunk.toString('utf8').trim()))
        opener.once('exit', (code) => reject(new Error(`the opener ended with ${code}`)))
      })
      expect(qemuProcesses(log)).toHaveLength(1)
      const gone = new Promise((resolve) => opener.once('exit', resolve))
      opener.kill(signal)
      // After SIGKILL it is the lab that notices and powers off.
      for (let tries = 0; qemuProcesses(log).length > 0 && tries < 300; tries++) await sleep(100)
      expect(qemuProcesses(log)).toEqual([])
      await gone
      // SIGKILL leaves a folder behind, but not the disk in it.
      const left = readdirSync(temporary, { recursive: true, encoding: 'utf8' })
      expect(left.filter((it) => it.endsWith('.ext4'))).toEqual([])
      if (signal === 'SIGINT') expect(left).toEqual([])
    },
    openTimeoutMs,
  )
})

/** QEMU processes that write this console log. */
function qemuProcesses(consoleLogPath: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    if (!/^\d+$/.test(pid)) return false
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
      return line.startsWith('qemu-system') && line.includes(consoleLogPath)
    } catch {
      return false // ended meanwhile
    }
  })
}
