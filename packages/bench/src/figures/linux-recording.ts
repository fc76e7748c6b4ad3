// `node scripts/bench.mjs linux-recording`: a shell and a Python function in a Linux guest in the nested lab,
// each recorded twice by every recorder; some three minutes.
//   --write   page and raw rows into docs/results
//   --out DIR   into DIR        --rows FILE   raw rows only
import { parseArgs } from 'node:util'
import { openNestedLab } from '@varve/lab'
import { resultOptions, say, writeResults } from '../common/results.js'
import { runInLab } from './in-lab.js'
import { linuxRecordingPage, type Recorded, type Used } from './linux-recording-page.js'

export async function linuxRecording(argv: readonly string[]): Promise<void> {
  const { values: options } = parseArgs({ args: [...argv], options: resultOptions })
  await using lab = await openNestedLab({ onProgress: say })
  const stage = (name: 'record' | 'use') =>
    runInLab(lab, 'linux-recording.mjs', {
      files: ['report.py'],
      args: [name, 'recording'],
      timeoutMs: 600_000,
    })
  const recorded = (await stage('record')) as Recorded
  const used = (await stage('use')) as Used
  const rows = [
    ...recorded.rows.map((row) => ({ kind: 'recorded', ...row })),
    ...recorded.comparisons.map(({ kind, ...rest }) => ({ kind: `compared, ${kind}`, ...rest })),
    ...used.restores.map((row) => ({ kind: 'restored', ...row })),
  ]
  const page = linuxRecordingPage(recorded, used, lab.accelerator)
  writeResults(
    { name: 'linux-recording', rows, parts: { page }, newPage: (parts) => `${parts.page}\n` },
    options,
  )
}
