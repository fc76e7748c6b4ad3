import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { agentProgramPath } from './agent-program.js'

const sources = dirname(agentProgramPath)
const hasCompiler = spawnSync('musl-gcc', ['--version']).status === 0
let directory: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-turns-'))
})
afterAll(() => rmSync(directory, { recursive: true }))

test.runIf(hasCompiler || process.env.CI !== undefined)(
  'neither connections without end nor processes that end without end keep the agent’s loop',
  () => {
    const program = join(directory, 'turns')
    const files = readdirSync(sources).filter((name) => name.endsWith('.c') && name !== 'main.c')
    const wrapped = ['accept4', 'waitid', 'poll'].map((name) => `-Wl,--wrap=${name}`)
    const harness = fileURLToPath(new URL('turns.c', import.meta.url))
    const args = ['-std=gnu11', '-static', '-Wno-builtin-declaration-mismatch', '-I.', ...wrapped]
    execFileSync('musl-gcc', [...args, ...files, harness, '-o', program], { cwd: sources })
    const { stdout, signal } = spawnSync(program, { encoding: 'utf8', timeout: 10_000 })
    expect({ stdout, signal }).toEqual({ stdout: '64\n256\n'.repeat(3), signal: null })
  },
  60_000,
)
