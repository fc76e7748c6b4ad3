import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { hundredths } from '../common/numbers.js'
import type { StartTimes } from './summary.js'

/** An emulated or busy host needs seconds. */
const timeoutMs = 60_000

/** The whole life of a process. */
export async function untilExit(
  node: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<StartTimes> {
  const from = performance.now()
  const child = spawn(node, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } })
  child.stdout.resume()
  const words = collect(child.stderr)
  const [status] = await once(child, 'close')
  const ms = hundredths(performance.now() - from)
  if (status !== 0) throw new Error(`${args.join(' ')} ended with ${status}: ${words()}`)
  return { ms }
}

export interface Ready extends StartTimes {
  readonly pid: number
}

export interface HelperCase {
  readonly args: readonly string[]
  /** What it says once it is ready. */
  readonly word: string
  readonly input?: string
}

/** Starts a helper, and ends it after `use`, which gets its pid and the time until it said its word. */
export async function withHelper<T>(
  node: string,
  { args, word, input }: HelperCase,
  use: (ready: Ready) => T | Promise<T>,
): Promise<T> {
  const from = performance.now()
  const child = spawn(node, args, { stdio: ['pipe', 'pipe', 'pipe'] })
  const ended = new Promise((resolve) => child.once('close', resolve))
  const words = collect(child.stderr)
  // One that has ended takes none.
  child.stdin.on('error', () => {})
  if (input !== undefined) child.stdin.write(input)
  try {
    const heard = collect(child.stdout)
    const ms = await new Promise<number>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${args[0]} is not ready: ${words()}`)), timeoutMs)
      child.once('error', reject)
      child.once('close', () => reject(new Error(`${args[0]} ended: ${words()}`)))
      child.stdout.on('data', () => {
        if (!heard().includes(word)) return
        clearTimeout(timer)
        resolve(hundredths(performance.now() - from))
      })
    })
    return await use({ ms, pid: child.pid as number })
  } finally {
    child.kill('SIGKILL')
    await ended
  }
}

/** What a stream has said by now. */
function collect(stream: NodeJS.ReadableStream): () => string {
  let text = ''
  stream.setEncoding('utf8').on('data', (part: string) => {
    text += part
  })
  return () => text
}
