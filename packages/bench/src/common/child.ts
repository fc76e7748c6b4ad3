import { type ChildProcessByStdio, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { fileURLToPath } from 'node:url'

/** A child process, read line by line. */
export interface LineChild {
  readonly child: ChildProcessByStdio<Writable, Readable, null>
  readonly ended: Promise<unknown>
  /** Its next line. Rejects once it has ended. */
  line(): Promise<string>
  kill(): Promise<void>
}

export function startLines(file: string, args: readonly string[]): LineChild {
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    child,
    ended,
    line: async () => {
      const { value, done } = await lines.next()
      if (done === true) throw new Error(`${file} ended`)
      return value
    },
    kill: async () => {
      child.kill('SIGKILL')
      await ended
    },
  }
}

/** Runs a program that must succeed. Gives its standard output. */
export function must(file: string, args: readonly string[]): string {
  const { status, stdout, error } = spawnSync(file, args, {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  if (status !== 0) throw new Error(`${file} ${args.join(' ')}: ${error?.message ?? `status ${status}`}`)
  return stdout
}

/**
 * Compiles a C program of this package. False, with the compiler's words on standard error, if that fails.
 */
export function compileC(source: string, program: string): boolean {
  const path = fileURLToPath(new URL(`../../programs/${source}`, import.meta.url))
  return spawnSync('cc', ['-O2', '-o', program, path], { stdio: 'inherit' }).status === 0
}
