import { spawnSync } from 'node:child_process'
import { arch, cpus, release } from 'node:os'
import type { CopyReport } from './contenders.js'

/** Milliseconds of one contender's run; `copyMs` to `syncMs` are parts of `totalMs`. */
export interface Timed {
  readonly copyMs: number
  readonly checksumMs?: number
  readonly syncMs: number
  readonly totalMs: number
}

export interface ComposeRow extends Timed, Partial<CopyReport> {
  readonly fileSystem: string
  readonly contender: string
  readonly round: number
}

export function composeTable(
  rows: readonly ComposeRow[],
  { pages, rounds }: { readonly pages: number; readonly rounds: number },
): string {
  const [cp] = spawnSync('cp', ['--version'], { encoding: 'utf8' }).stdout.split('\n')
  const keys = [...new Set(rows.map(({ fileSystem, contender }) => `${fileSystem}\0${contender}`))]
  const lines = keys.map((key) => {
    const [fileSystem, contender] = key.split('\0')
    const mine = rows.filter((row) => row.fileSystem === fileSystem && row.contender === contender)
    const at = (field: keyof Timed, share: number) => {
      const values = mine.flatMap((row) => row[field] ?? []).sort((a, b) => a - b)
      return values[Math.min(values.length - 1, Math.floor(values.length * share))]?.toFixed(0) ?? '–'
    }
    const median = (field: keyof Timed) => at(field, 0.5)
    return `| ${fileSystem} | ${contender} | ${median('copyMs')} | ${median('checksumMs')} | ${median('syncMs')} | **${median('totalMs')}** | ${at('totalMs', 0.9)} | ${mine[0]?.method ?? ''} |`
  })
  return [
    `${pages / 256} MiB base, three diffs of 10 %, n = ${rounds}; Linux ${release()}, ${arch()}, ${cpus().length} CPUs, Node ${process.versions.node}, ${cp}`,
    '',
    '| file system | what | copy | verify, checksums | sync | total, median | p90 | method |',
    '|---|---|---|---|---|---|---|---|',
    ...lines,
  ].join('\n')
}
