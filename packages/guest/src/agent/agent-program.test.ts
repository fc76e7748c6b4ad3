import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { agentProgram, agentProgramPath } from './agent-program.js'

interface Builder {
  readonly hasCompiler: () => boolean
  readonly compiler: () => string
  readonly buildAgent: () => Buffer
  readonly digest: (bytes: Buffer) => string
}

const script = new URL('../../../../scripts/guest-agent.mjs', import.meta.url).href
const builder = (await import(script)) as Builder
const record = JSON.parse(readFileSync(`${agentProgramPath}.json`, 'utf8')) as {
  readonly sha256: string
  readonly compiler: string
}
/** Another compiler gives other bytes. CI has the one that is named, and must not pass over this. */
const comparable = builder.hasCompiler() && builder.compiler() === record.compiler

test('the program is the one whose SHA-256 is recorded, and static', async () => {
  const program = await agentProgram()
  expect(builder.digest(program)).toBe(record.sha256)
  expect(program.toString('latin1', 1, 4)).toBe('ELF')
  // No interpreter: it runs in an image that has no C library.
  expect(program.includes('ld-musl')).toBe(false)
  expect(program.length).toBeLessThan(64 * 1024)
})

test.runIf(comparable || process.env.CI !== undefined)(
  'its sources give the same bytes',
  () => {
    expect(builder.compiler()).toBe(record.compiler)
    expect(builder.digest(builder.buildAgent())).toBe(record.sha256)
  },
  60_000,
)
