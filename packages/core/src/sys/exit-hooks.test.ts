import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import ts from 'typescript'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

// Each case needs a process of its own to end. The module imports nothing, so it runs
// alone once its types are gone.
let directory: string
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-hooks-'))
  const source = readFileSync(new URL('./exit-hooks.ts', import.meta.url), 'utf8')
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  })
  for (const name of ['hooks.mjs', 'second-copy.mjs']) writeFileSync(join(directory, name), outputText)
})
afterAll(() => {
  rmSync(directory, { recursive: true })
})

/** Runs a program that may send itself a signal; gives what it said and how it ended. */
async function run(program: string) {
  const path = join(directory, `program-${Math.random()}.mjs`)
  writeFileSync(
    path,
    `import { onProcessEnd } from './hooks.mjs'
import { onProcessEnd as secondCopy } from './second-copy.mjs'
const say = (word) => process.stdout.write(word + '\\n')
const kill = (signal) => process.kill(process.pid, signal)
const stay = () => setInterval(() => {}, 1000)
${program}`,
  )
  const child = spawn(process.execPath, [path], { stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = once(child, 'exit') as Promise<[number | null, string | null]>
  const [said, complaints, [code, signal]] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    ended,
  ])
  return { said: said.split('\n').filter(Boolean), complaints, end: signal ?? code }
}

test('clean-ups run at the end, in the order of their registration, each once', async () => {
  const result = await run(`onProcessEnd(() => say('one')); onProcessEnd(() => say('two'))`)
  expect(result).toMatchObject({ said: ['one', 'two'], end: 0 })
})

test('process.exit keeps its status, an uncaught error its own', async () => {
  expect(await run(`onProcessEnd(() => say('one')); process.exit(7)`)).toMatchObject({
    said: ['one'],
    end: 7,
  })
  const thrown = await run(`onProcessEnd(() => say('one')); throw new Error('broken')`)
  expect(thrown).toMatchObject({ said: ['one'], end: 1 })
  expect(thrown.complaints).toContain('broken')
})

test('one that is taken back does not run; with the last one the signal handlers go', async () => {
  const result =
    await run(`const count = () => process.listenerCount('SIGTERM') + process.listenerCount('exit')
const before = count(); const back = onProcessEnd(() => say('never')); const between = count(); back(); back()
say([between - before, count() - before])
onProcessEnd(() => say('again'))`)
  expect(result).toMatchObject({ said: ['2,0', 'again'], end: 0 })
})

test('one that fails says so and keeps nobody from running', async () => {
  const result = await run(`onProcessEnd(() => { throw new Error('stuck') }); onProcessEnd(() => say('two'))`)
  expect(result).toMatchObject({ said: ['two'], end: 0 })
  expect(result.complaints).toContain('clean-up failed: stuck')
})

describe.each(['SIGINT', 'SIGTERM', 'SIGHUP'])('%s', (signal) => {
  test('runs them, and the process dies of it', async () => {
    const result = await run(`onProcessEnd(() => say('one')); stay(); kill('${signal}')`)
    expect(result).toMatchObject({ said: ['one'], end: signal })
  })

  test('a program with a handler of its own decides when it ends', async () => {
    const result = await run(`onProcessEnd(() => say('one')); stay()
process.on('${signal}', () => { say('handler'); setTimeout(() => { say('later'); process.exit(4) }, 20) })
kill('${signal}')`)
    expect(result).toMatchObject({ said: ['handler', 'later', 'one'], end: 4 })
  })

  test('two copies of the module do not wait for each other', async () => {
    const result = await run(
      `onProcessEnd(() => say('one')); secondCopy(() => say('two')); stay(); kill('${signal}')`,
    )
    expect(result).toMatchObject({ said: ['one', 'two'], end: signal })
  })
})
