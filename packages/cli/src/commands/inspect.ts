import { countPages, type Layer } from 'varve/layers'
import { type MemoryFileReport, memoryExtents, type StateFileReport } from 'varve/state-files'
import { positionals } from '../arguments.js'
import type { Command } from '../command.js'
import { inspectReport } from '../inspect-report.js'
import { renderInspect } from '../render-inspect.js'
import { humanBytes } from '../text.js'

export const command: Command = {
  usage: 'usage: varve inspect FILE|DIR [--extents] [--json]',
  options: { extents: { type: 'boolean' } },
  help: `
  FILE       a state file of Firecracker 1.7 to 1.16, a memory file, or a layer file
  DIR        a directory with a state file and its memory file: a snapshot of plain Firecracker
  --extents  list every extent of the memory file

Shows the snapshot version and the releases that write it, the machine, the memory regions with
guest address, size and file offset, why there are gaps between them, and how much of the memory
file is data, stored zeros and holes. For a layer, shows its footer. inspect only reads. For
snapshots in the store, use varve snapshot show.

Examples:
  varve inspect firecracker-snapshot
  varve inspect firecracker-snapshot/state --json`,
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
    const { layer, state, memory, notes } = report
    context.printJson({
      path: report.path,
      layer: layer ? layerJson(layer) : null,
      state: state ? stateJson(state) : null,
      memory: memory ? memoryJson(memory, extents) : null,
      notes,
    })
  },
}

const layerJson = ({ index, checksums, ...layer }: Layer) => {
  const { data, zero, absent } = countPages(index)
  return {
    ...layer,
    memoryPages: index.pages,
    runs: index.starts.length,
    dataPages: data,
    zeroPages: zero,
    absentPages: absent,
    chunks: checksums.length,
  }
}

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
