import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inCheckout } from './checkout.js'
import { generated, replaceGenerated } from './generated.js'

/** Options of each program that has results for docs/results. */
export const resultOptions = {
  /** Write into docs/results. */
  write: { type: 'boolean' },
  /** Write into this directory. */
  out: { type: 'string' },
  /** Write the raw rows into this file. */
  rows: { type: 'string' },
} as const

export interface ResultOptions {
  readonly write?: boolean | undefined
  readonly out?: string | undefined
  readonly rows?: string | undefined
}

export interface Results {
  /** Of the files: NAME.md and NAME.jsonl. */
  readonly name: string
  /** The page, if it is of another name. */
  readonly page?: string
  readonly rows: readonly object[]
  /** Generated parts of the page, by their names. */
  readonly parts?: Readonly<Record<string, string>>
  /** A page for these parts where there is none yet, given their text with markers. */
  readonly newPage?: (parts: Readonly<Record<string, string>>) => string
}

/** Writes where the options say; without any of them, nowhere. */
export function writeResults(results: Results, { write = false, out, rows }: ResultOptions): void {
  const directory = out ?? (write ? inCheckout('docs/results') : undefined)
  const lines = results.rows.map((row) => `${JSON.stringify(row)}\n`).join('')
  if (rows !== undefined) writeFileSync(rows, lines)
  if (directory === undefined) return
  mkdirSync(directory, { recursive: true })
  const page = join(directory, `${results.page ?? results.name}.md`)
  const { parts, newPage } = results
  if (parts !== undefined) {
    const marked = Object.fromEntries(
      Object.entries(parts).map(([name, text]) => [name, generated(name, text)]),
    )
    const text = existsSync(page) ? replaceGenerated(readFileSync(page, 'utf8'), parts) : newPage?.(marked)
    if (text !== undefined) writeFileSync(page, text)
  }
  writeFileSync(join(directory, `${results.name}.jsonl`), lines)
  process.stderr.write(`bench: ${results.rows.length} rows of ${results.name} in ${directory}\n`)
}

export const say = (text: string): void => void process.stderr.write(`bench: ${text}\n`)
