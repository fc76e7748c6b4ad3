import { type MemoryFileReport, memoryExtents, type SnapshotManifest, type StateFileReport } from 'varve'
import { positionals } from '../arguments.js'
import type { Command } from '../command.js'
import { inspectReport } from '../inspect-report.js'
import { humanBytes } from '../output.js'
import { renderInspect } from '../render-inspect.js'

export const command: Command = {
  usage: 'usage: varve inspect FILE|DIR [--extents] [--json]',
  options: { extents: { type: 'boolean' } },
  help: `
  FILE       a state file of Firecracker 1.7 to 1.16, or a memory file
  DIR        a directory with a state file and its memory file, such as varve snapshot makes
  --extents  list every extent of the memory file

Shows the snapshot version and who writes it, the machine, the memory regions with guest address, size and file
offset, why there are gaps between them, and how much of the memory file is data, stored zeros and holes. Only reads.

Examples:
  varve inspect snaps/base
  varve inspect snaps/base/state --json`,
  run: async (context) => {
    const [path] = positionals(context, ['FILE|DIR'])
    const extents = context.values.extents === true
    const report = await context.progress(`reading ${path}`, (update) =>
      inspectReport(path, {
        signal: context.signal,
        onProgress: (bytes) => update(`${humanBytes(bytes)} scanned`),
      }),
    )
    if (!context.json) return context.print(renderInspect(report, { extents }))
    const { manifest, state, memory, notes } = report
    context.printJson({
      path: report.path,
      snapshot: manifest ? snapshotJson(manifest) : null,
      state: state ? stateJson(state) : null,
      memory: memory ? memoryJson(memory, extents) : null,
      notes,
    })
  },
}

const snapshotJson = ({ id, kind, parent, parentId, createdAt, firecrackerVersion }: SnapshotManifest) => ({
  id,
  kind,
  parent,
  parentId,
  createdAt,
  firecrackerVersion,
})

const stateJson = ({ format: _, capModifiers, vmInfo, ...state }: StateFileReport) => ({
  ...state,
  vmInfo: { ...vmInfo, initrdPath: vmInfo.initrdPath ?? null, bootArgs: vmInfo.bootArgs ?? null },
  capModifiers: capModifiers ?? null,
})

const memoryJson = ({ data, zero, hole, ...memory }: MemoryFileReport, extents: boolean) => ({
  ...memory,
  extentCounts: { data: data.starts.length, zero: zero.starts.length, hole: hole.starts.length },
  ...(extents ? { extents: [...memoryExtents({ data, zero, hole })] } : {}),
})
