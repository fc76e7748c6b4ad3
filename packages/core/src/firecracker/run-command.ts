import { execFile } from 'node:child_process'
import { abortError } from '../abort-error.js'
import { VarveError } from '../errors.js'

export interface CommandOptions {
  readonly signal?: AbortSignal | undefined
  readonly timeoutMs?: number
}

/**
 * Runs a program with an argument list (never a shell) and gives its standard output. Errors:
 * HOST_UNSUPPORTED with the last lines of its standard error, TIMEOUT, INTERRUPTED.
 */
export function runCommand(
  file: string,
  args: readonly string[],
  options: CommandOptions = {},
): Promise<string> {
  const { signal, timeoutMs = 60_000 } = options
  return new Promise((resolve, reject) => {
    execFile(
      file,
      [...args],
      {
        timeout: timeoutMs,
        // One that does not heed SIGTERM would be waited for without end.
        killSignal: 'SIGKILL',
        maxBuffer: 8 * 1024 * 1024,
        encoding: 'utf8',
        signal,
      },
      (error, stdout, stderr) => {
        if (!error) return resolve(stdout)
        if (signal?.aborted) return reject(abortError(signal, file))
        if (error.killed === true && error.signal === 'SIGKILL')
          return reject(
            new VarveError('TIMEOUT', `${file} did not end within ${timeoutMs} ms and was ended`, {
              cause: error,
            }),
          )
        const words = stderr.trim().split('\n').slice(-3).join(' ') || error.message
        reject(
          new VarveError('HOST_UNSUPPORTED', `${[file, ...args].join(' ')} failed: ${words}`, {
            cause: error,
          }),
        )
      },
    )
  })
}
