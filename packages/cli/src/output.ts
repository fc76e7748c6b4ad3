import { styleText } from 'node:util'
import { VarveError } from 'varve'
import type { Colour, CommandContext } from './command.js'
import { Pace } from './pace.js'
import { cut, printableLines } from './text.js'

/** Work shorter than this needs no talk. */
const progressAfterMs = 1000
const progressEveryMs = 2000
/** A terminal's line is written over: often enough to look alive. */
const repaintEveryMs = 250

export type Output = Pick<
  CommandContext,
  'print' | 'printJson' | 'printJsonLine' | 'say' | 'progress' | 'paint'
> & {
  fail(error: unknown, json: boolean): void
}

/** Where results and talk go; `process` is one. */
export interface Streams {
  readonly stdout: OutputStream
  readonly stderr: OutputStream
}

interface OutputStream {
  readonly isTTY?: boolean
  readonly columns?: number
  write(text: string): unknown
}

/** Colours are for people: only on a terminal that knows them, and not if $NO_COLOR is set (no-color.org). */
const hasColours = ({ isTTY }: OutputStream, env: NodeJS.ProcessEnv) =>
  isTTY === true && (env.NO_COLOR ?? '') === '' && env.TERM !== 'dumb'

const painter = (coloured: boolean) => (colour: Colour, text: string) =>
  coloured ? styleText(colour, text, { validateStream: false }) : text

export function createOutput({ stdout, stderr }: Streams, env: NodeJS.ProcessEnv = process.env): Output {
  const paintTalk = painter(hasColours(stderr, env))
  const line = statusLine(stderr, env)
  const say = (text: string) => {
    line.clear()
    stderr.write(`${text}\n`)
  }
  const print = (text: string) => void stdout.write(`${text}\n`)
  return {
    print,
    printJson: (value) => print(JSON.stringify(value, null, 2)),
    printJsonLine: (value) => print(JSON.stringify(value)),
    say,
    paint: painter(hasColours(stdout, env)),
    progress: async (what, work) => {
      const start = performance.now()
      const pace = new Pace()
      let detail = ''
      const tick = () => {
        const now = performance.now()
        const seconds = ((now - start) / 1000).toFixed(0)
        const text = `${what}: ${seconds} s${detail && `, ${detail}`}${pace.text(now)}`
        if (line.isThere) line.show(text)
        else say(text)
      }
      let repeat: NodeJS.Timeout | undefined
      const first = setTimeout(() => {
        tick()
        repeat = setInterval(tick, line.isThere ? repaintEveryMs : progressEveryMs)
      }, progressAfterMs)
      try {
        return await work((text) => {
          detail = text
          pace.told(text, performance.now())
        })
      } finally {
        clearTimeout(first)
        clearInterval(repeat)
        line.clear()
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
      say(`${paintTalk('red', 'varve:')} ${printableLines(error.message)} [${error.code}]`)
      if (error.remedy !== undefined) say(`  try: ${printableLines(error.remedy)}`)
    },
  }
}

/** The last line of a terminal, written over as work goes on; it is not there elsewhere. */
function statusLine(stream: OutputStream, env: NodeJS.ProcessEnv) {
  let shown = false
  return {
    isThere: stream.isTTY === true && env.TERM !== 'dumb',
    show(text: string) {
      shown = true
      // A line that the terminal breaks cannot be written over.
      stream.write(`\r\x1b[K${cut(text, (stream.columns ?? 80) - 1)}`)
    },
    clear() {
      if (shown) stream.write('\r\x1b[K')
      shown = false
    },
  }
}
