import { VarveError } from 'varve'
import type { CommandContext } from './command.js'

/** Work shorter than this needs no talk. */
const progressAfterMs = 1000
const progressEveryMs = 2000

export type Output = Pick<CommandContext, 'print' | 'printJson' | 'say' | 'progress'> & {
  fail(error: unknown, json: boolean): void
}

/** Where results and talk go; `process` is one. */
export interface Streams {
  readonly stdout: { write(text: string): unknown }
  readonly stderr: { write(text: string): unknown }
}

export function createOutput({ stdout, stderr }: Streams): Output {
  const say = (text: string) => void stderr.write(`${text}\n`)
  const print = (text: string) => void stdout.write(`${text}\n`)
  return {
    print,
    printJson: (value) => print(JSON.stringify(value, null, 2)),
    say,
    progress: async (what, work) => {
      const start = performance.now()
      let detail = ''
      const tick = () =>
        say(`${what}: ${((performance.now() - start) / 1000).toFixed(0)} s${detail && `, ${detail}`}`)
      let repeat: NodeJS.Timeout | undefined
      const first = setTimeout(() => {
        tick()
        repeat = setInterval(tick, progressEveryMs)
      }, progressAfterMs)
      try {
        return await work((text) => {
          detail = text
        })
      } finally {
        clearTimeout(first)
        clearInterval(repeat)
      }
    },
    fail: (error, json) => {
      if (json)
        return say(
          JSON.stringify({
            error: error instanceof VarveError ? error : { code: 'UNEXPECTED', message: String(error) },
          }),
        )
      if (!(error instanceof VarveError))
        return say(`varve: ${error instanceof Error ? error.stack : String(error)}`)
      say(`varve: ${error.message} [${error.code}]`)
      if (error.remedy !== undefined) say(`  try: ${error.remedy}`)
    },
  }
}
