import { spawn } from 'node:child_process'
import { VarveError } from 'varve'
import { abortError } from 'varve/testing'

export interface ToolOptions {
  readonly cwd?: string | undefined
  readonly env?: NodeJS.ProcessEnv | undefined
  readonly input?: Uint8Array | undefined
  readonly signal?: AbortSignal | undefined
  /** Default: 2 minutes, except if a download or an image build is expected to take longer. */
  readonly timeoutMs?: number
  /** Cap on standard output. Default: 64 MiB. */
  readonly maxOutputBytes?: number
  /** What ends it on an abort or when time is up. Default: SIGKILL. */
  readonly endBy?: NodeJS.Signals
  /** The Debian package that brings the program, for the remedy if it is missing. */
  readonly package?: string
  /**
   * For programs that end with 0 also if they fail, and say it on standard error: all that they say there
   * without failing. Default: the exit status counts.
   */
  readonly harmlessWords?: RegExp
}

/**
 * Runs a program with an argument list (never a shell) and gives its standard output.
 * Failures are HOST_UNSUPPORTED.
 */
export function runTool(file: string, args: readonly string[], options: ToolOptions = {}): Promise<Buffer> {
  const { cwd, env, input, signal, timeoutMs = 120_000, maxOutputBytes = 64 * 1024 * 1024 } = options
  const { package: debianPackage, harmlessWords, endBy = 'SIGKILL' } = options
  const line = [file, ...args].join(' ')
  return new Promise((resolve, reject) => {
    const child = spawn(file, [...args], {
      stdio: ['pipe', 'pipe', 'pipe'],
      killSignal: endBy,
      cwd,
      env,
      signal,
    })
    // Not by spawn's own timeout, which keeps this process alive if the program is missing.
    const timer = setTimeout(() => child.kill(endBy), timeoutMs)
    const out: Buffer[] = []
    let outBytes = 0
    let words = ''
    child.stdout.on('data', (chunk: Buffer) => {
      outBytes += chunk.length
      if (outBytes > maxOutputBytes) child.kill('SIGKILL')
      else out.push(chunk)
    })
    child.stderr.on('data', (chunk: Buffer) => {
      words = (words + chunk.toString('utf8')).slice(-2000)
    })
    const fail = (cause: unknown, what: string) => {
      clearTimeout(timer)
      reject(
        signal?.aborted
          ? abortError(signal, line)
          : new VarveError('HOST_UNSUPPORTED', `${line} failed: ${what}`, { cause, remedy }),
      )
    }
    const install = debianPackage === undefined ? undefined : `apt-get install ${debianPackage}`
    let remedy: string | undefined
    child.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') remedy = install
      fail(error, error.message)
    })
    child.on('close', (code, killedBy) => {
      clearTimeout(timer)
      if (outBytes > maxOutputBytes) return fail(undefined, `more than ${maxOutputBytes} bytes of output`)
      const harmless = harmlessWords === undefined || words.replace(harmlessWords, '') === ''
      if (code === 0 && harmless) return resolve(Buffer.concat(out))
      fail(undefined, words.trim() || `exit status ${code ?? killedBy}`)
    })
    // A tool that does not read its input to the end says why by its exit status; EPIPE adds nothing.
    child.stdin.on('error', () => {})
    child.stdin.end(input)
  })
}
