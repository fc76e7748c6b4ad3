import { type OwnedSum, type OwnerSums, pagesOf } from './owner-sums.js'

export interface DaemonRow extends OwnerSums {
  readonly daemon: string
  /** Names of its processes. */
  readonly processes: readonly string[]
  /** How long the guest had nothing to do after its answer; 0: recorded until the answer. */
  readonly idleMs: number
  /** How long the explanation took, emulated. */
  readonly askedMs: number
}

interface Settings {
  readonly memoryMib: number
  readonly settleMs: number
  readonly idleMs: number
  readonly suite: string
}

const line = (...cells: readonly (string | number)[]) => `| ${cells.join(' | ')} |`
const ownMemory = /^(anonymous|heap|stack|private copy)$/

export function daemonPagesPage(rows: readonly DaemonRow[], settings: Settings): string {
  const { memoryMib, settleMs, idleMs, suite } = settings
  const of = (daemon: string, idle: number) =>
    rows.find((it) => it.daemon === daemon && it.idleMs === idle) as DaemonRow
  const later = `${idleMs / 1000} s later`
  const columns = [of('none', 0), of('all', 0), of('none', idleMs), of('all', idleMs)]
  const kinds = [...new Set(columns.flatMap(({ owners }) => owners.map(kindOf)))]
  const pages = (kind: string) => columns.map(({ owners }) => pagesOf(owners, (it) => kindOf(it) === kind))
  const byKind = kinds
    .map((kind) => [kind, ...pages(kind)] as const)
    .sort((a, b) => (b[4] as number) - (a[4] as number))
  const all = of('all', 0)
  const allLater = of('all', idleMs)
  const daemon = (process: string) =>
    [all, allLater].flatMap(({ owners }) => [
      pagesOf(owners, ({ who }) => who === process),
      pagesOf(owners, ({ who, what }) => who === process && ownMemory.test(what)),
    ])
  const asked = rows.map((it) => it.askedMs).sort((a, b) => a - b)
  return `# What daemons add to a working set

\`node scripts/bench.mjs daemon-pages\`: a Debian ${suite} guest of ${memoryMib} MiB and one vCPU, whose init is Varve's agent and whose root disk is read-only, in the nested lab; without
daemons, and with ${all.processes.length}, which were started ${settleMs / 1000} s before the capture. A clone of each snapshot got its time, host name and machine id (\`fixUp\`), and ran
\`sh -c 'echo hello'\` (engine \`file\`, recorder \`pagemap\`). *Until the answer*: the pages that the guest touched from the restore to the end of that command. *${later}*: another
clone did the same, and then nothing for ${idleMs / 1000} s. Pages of 4 KiB; one run each, so differences of some ten pages may be chance. Raw rows:
[daemon-pages.jsonl](daemon-pages.jsonl).

## By daemon

What the explanation gives to the daemon's process alone: its memory (anonymous, heap, stack, private copies of files), and pages of files that only it maps. Pages of
files that several processes map (libc, say), and the kernel's for the daemon, are in the next table.

${line('process', 'until the answer', 'of these its memory', later, 'of these its memory')}
|---|---:|---:|---:|---:|
${all.processes.map((it) => line(`\`${it}\``, ...daemon(it))).join('\n')}

## All pages

${line('owner', 'until the answer, without daemons', 'with them', `${later}, without daemons`, 'with them')}
|---|---:|---:|---:|---:|
${byKind.map((it) => line(...it)).join('\n')}
${line('**all**', ...columns.map((it) => it.pages))}
${line('of these written', ...columns.map((it) => it.writtenPages))}

The question to the guest took ${(median(asked) / 1000).toFixed(1)} s (median, emulated).`
}

const median = (sorted: readonly number[]) => sorted[Math.floor(sorted.length / 2)] ?? 0

function kindOf({ who, what }: OwnedSum): string {
  if (what.startsWith('kernel: ')) return what
  if (who === 'several') return 'several processes'
  if (who !== '') return `\`${who}\``
  return what === 'file' ? 'files that no process maps' : what
}
