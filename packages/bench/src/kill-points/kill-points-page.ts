import type { Operation } from './operations.js'

/** What came of killing one operation at its changes. */
export interface KillRow {
  readonly operation: Operation
  readonly points: number
  /** How many changes of each kind. */
  readonly kinds: Readonly<Record<string, number>>
  readonly done: number
  readonly undone: number
}

export function killPointsPage(rows: readonly KillRow[], problems: number): string {
  const total = rows.reduce((sum, { points }) => sum + points, 0)
  const line = ({ operation, points, kinds, done, undone }: KillRow) =>
    `| ${operation} | ${points} | ${Object.entries(kinds)
      .sort()
      .map(([kind, count]) => `${count} ${kind}`)
      .join(', ')} | ${undone} | ${done} |`
  return `# Kill points

\`node scripts/bench.mjs kill-points --write\` kills a process with SIGKILL before each change that it makes on disk (every one goes
through \`sys/mutations.ts\`), once each, on a store with a chain of three snapshots, and looks at what is left. Each time: the store
opens, \`fsck\` finds no error, the three snapshots are byte-identical, what was interrupted is there whole or not at all, \`gc\`
removes the rest, and \`fsck\` finds nothing more. From the changes in their order: no file gets a lasting name before it was
synced, and no reference is written before the names of its blobs were.

| operation | kill points | changes | found undone | found done |
|---|---|---|---|---|
${rows.map(line).join('\n')}
| **all** | **${total}** | | | **${problems} problems** |

"Done" before the last change is right too: what follows the new index.json is cleaning up. A test repeats it at
each third change (\`test/stress/kill-points.test.ts\`).
`
}
