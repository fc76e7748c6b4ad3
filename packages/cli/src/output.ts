import { VarveError } from 'varve'
import type { CommandContext } from './command.js'

/** Work shorter than this needs no talk. */
const progressAfterMs = 1000
const progressEveryMs = 2000

type Output = Pick<CommandContext, 'print' | 'printJson' | 'say' | 'progress'> & {
  fail(error: unknown, json: boolean): void
}

export function createOutput(): Output {
  const say = (text: string) => void process.stderr.write(`${text}\n`)
  const print = (text: string) => void process.stdout.write(`${text}\n`)
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

/** Bytes for people: 1,536 → "1.5 KiB". */
export function humanBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit++
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

/** Left-aligned columns, two spaces apart. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = []
  for (const row of rows)
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, cell.length)
    })
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}
