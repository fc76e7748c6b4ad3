import { type ChildProcess, spawn } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { World } from './world.js'

const entry = fileURLToPath(new URL('../../packages/cli/bin/varve.js', import.meta.url))

export interface CliResult {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
  /** Standard output as JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: tests look into documents of many shapes
  json(): any
}

/** Runs the built command in a world's runtime directory, on its store. */
export function varve(world: World, ...args: string[]): Promise<CliResult> {
  return startVarve(world, ...args).result
}

/** The same, for those who want to signal it. */
export function startVarve(
  world: World,
  ...args: string[]
): { readonly child: ChildProcess; readonly result: Promise<CliResult> } {
  const child = spawn(process.execPath, [entry, ...args], {
    cwd: world.directory,
    env: {
      ...process.env,
      VARVE_RUNTIME_DIR: world.runtimeDirectory,
      VARVE_STORE: world.store.location,
      FIRECRACKER: world.binary.path,
    },
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
