import { type ChildProcess, spawn } from 'node:child_process'
import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { MicroConsole } from '@varve/lab'
import { listMachines } from 'varve'
import { expect } from 'vitest'
import type { MicroWorld } from './micro-world.js'

const entry = fileURLToPath(new URL('../../packages/core/bin/varve.js', import.meta.url))

export interface CliResult {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
  /** Standard output as JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into documents of many shapes
  json(): any
}

/** Leads a command to a world's runtime directory and store. */
export const environmentOf = (world: MicroWorld): NodeJS.ProcessEnv => ({
  ...process.env,
  VARVE_RUNTIME_DIR: world.runtimeDirectory,
  VARVE_STORE: world.store.location,
  FIRECRACKER: world.binary.path,
  ...world.env,
})

/** Makes a directory for $PATH in which the built command is `varve`. */
export function commandLink(directory: string): void {
  mkdirSync(directory)
  symlinkSync(entry, join(directory, 'varve'))
}

/** Runs the built command in a world's runtime directory, on its store. */
export function varve(world: MicroWorld, ...args: string[]): Promise<CliResult> {
  return startVarve(world, ...args).result
}

/** The same, for those who want to signal it. */
export function startVarve(
  world: MicroWorld,
  ...args: string[]
): { readonly child: ChildProcess; readonly result: Promise<CliResult> } {
  const child = spawn(process.execPath, [entry, ...args], {
    cwd: world.directory,
    env: environmentOf(world),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const collect = (stream: NodeJS.ReadableStream) => {
    let text = ''
    stream.setEncoding('utf8').on('data', (part: string) => {
      text += part
    })
    return () => text
  }
  const [stdout, stderr] = [collect(child.stdout), collect(child.stderr)]
  const result = new Promise<CliResult>((resolve) =>
    child.once('close', (status) =>
      resolve({ status, stdout: stdout(), stderr: stderr(), json: () => JSON.parse(stdout()) }),
    ),
  )
  return { child, result }
}

/** Command lines in a world that is opened before they are called. */
export function commandsIn(world: () => MicroWorld) {
  /** Runs a command that must succeed. */
  async function right(...args: string[]): Promise<CliResult> {
    const result = await varve(world(), ...args)
    expect(result.status, `varve ${args.join(' ')}: ${result.stderr}`).toBe(0)
    return result
  }
  return {
    right,
    /** Its JSON document. */
    json: async (...args: string[]) => (await right(...withJson(args))).json(),
    /** Its text, which any terminal can show. */
    text: async (...args: string[]): Promise<string> => {
      const { stdout } = await right(...args)
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
      expect(stdout).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f]/)
      for (const line of stdout.split('\n')) expect(line.length, line).toBeLessThanOrEqual(100)
      return stdout
    },
    /** Runs one that must fail so, and gives the message. */
    refused: async (status: number, code: string, ...args: string[]): Promise<string> => {
      const result = await varve(world(), ...withJson(args))
      expect(result.status, `varve ${args.join(' ')}: ${result.stdout}`).toBe(status)
      const { error } = JSON.parse(result.stderr.trim().split('\n').at(-1) ?? '')
      expect(error.code).toBe(code)
      return error.message
    },
    consoleOf: (name: string): MicroConsole => {
      const found = listMachines(world().runtimeDirectory).find(({ record }) => record.id === name)
      return MicroConsole.attach({
        consoleInput: `${found?.directory}/console.in`,
        consoleOutput: `${found?.directory}/console.log`,
      })
    },
  }
}

/** Before what is another program's. */
function withJson(args: readonly string[]): string[] {
  const end = args.indexOf('--')
  return end < 0 ? [...args, '--json'] : [...args.slice(0, end), '--json', ...args.slice(end)]
}
