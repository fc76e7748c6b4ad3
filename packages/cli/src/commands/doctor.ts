import { existsSync } from 'node:fs'
import { checkHost, checkSnapshot, type SnapshotCheck, VarveError } from 'varve'
import type { Command, CommandContext } from '../command.js'
import { firecrackerOptions, firecrackerPlaces } from '../firecracker-options.js'
import { snapshotFiles } from '../inspect-report.js'
import { openStore, storeOption } from '../store.js'
import { printable } from '../text.js'

const hostMarks = { ok: 'ok  ', note: 'note', lack: 'LACK' } as const
const snapshotMarks = { ok: 'ok  ', warn: 'warn', fail: 'FAIL' } as const
const colours = { ok: 'green', note: 'yellow', warn: 'yellow', lack: 'red', fail: 'red' } as const

export const command: Command = {
  usage: 'usage: varve doctor [--fetch] [options] | varve doctor REF|DIR|FILE [options]',
  options: { ...storeOption, ...firecrackerOptions, fetch: { type: 'boolean' } },
  help: `
  --fetch    fetch the pinned Firecracker if none is found
  --firecracker FILE, --firecracker-dir DIR
             the Firecracker to look at, or a folder to choose from, as for boot and restore

Without an argument: checks the Firecracker binary and its version, /dev/kvm and what runs on it,
userfaultfd, ptrace, reflinks in this directory, memory, how the host logs dirty pages, the mapping
limit, fault-around and the runtime directory. Exits 3 if something is lacking.

  REF        a snapshot in the store
  DIR        a directory with a state file and its memory file
  FILE       a state file; a path that could be a REF has a slash: ./state

With an argument: checks what a restore of this snapshot would find here, and launches nothing:
files, state file, the Firecracker that would load it, CPU and its features, kernel, memory, huge
pages, regions, drives, vsock, taps, clock, and known defects of these releases. --json prints {
checks: [{ id, status, says, remedy, source, code }] }; a status is ok, warn or fail. Exits with the
code of the first check that fails.

Examples:
  varve doctor --json
  varve doctor monday
  varve doctor ./firecracker-snapshot`,
  run: async (context) => {
    const [place, ...more] = context.positionals
    if (more.length > 0) throw new VarveError('USAGE', 'expected at most one REF, DIR or FILE')
    if (place === undefined) return doctorOfHost(context)
    return doctorOfSnapshot(context, place)
  },
}

async function doctorOfHost(context: CommandContext): Promise<void> {
  const { signal, say, values } = context
  const places = firecrackerPlaces(values)
  const checks = await checkHost({
    ...places,
    signal,
    download: context.values.fetch === true,
    onProgress: say,
  })
  if (context.json) context.printJson({ checks })
  else
    for (const { id, status, finding, remedy } of checks) {
      context.print(`${context.paint(colours[status], hostMarks[status])}  ${id.padEnd(14)} ${finding}`)
      if (remedy !== undefined) context.print(`${' '.repeat(21)}-> ${remedy}`)
    }
  const lacks = checks.filter(({ status }) => status === 'lack').map(({ id }) => id)
  if (lacks.length > 0) throw new VarveError('HOST_UNSUPPORTED', `this machine lacks ${lacks.join(', ')}`)
}

async function doctorOfSnapshot(context: CommandContext, place: string): Promise<void> {
  const checks = await context.progress(`looking at ${place}`, () => checksOf(context, place))
  if (context.json) context.printJson({ checks })
  else
    for (const { id, status, says, remedy, source } of checks) {
      const origin = source === undefined ? '' : ` (${source})`
      context.print(
        `${context.paint(colours[status], snapshotMarks[status])}  ${printable(id).padEnd(14)} ${printable(says)}${origin}`,
      )
      if (remedy !== undefined) context.print(`${' '.repeat(21)}-> ${printable(remedy)}`)
    }
  const failed = checks.filter(({ status }) => status === 'fail')
  const [first] = failed
  if (first === undefined) return
  const ids = failed.map(({ id }) => id)
  throw new VarveError(
    first.code ?? 'HOST_UNSUPPORTED',
    `${place} cannot be restored here: ${ids.join(', ')}`,
    {
      details: { checks: ids },
    },
  )
}

async function checksOf(context: CommandContext, place: string): Promise<readonly SnapshotCheck[]> {
  const options = { ...firecrackerPlaces(context.values), signal: context.signal }
  if (place.includes('/')) return checkSnapshot(await snapshotFiles(place), options)
  try {
    return await checkSnapshot({ store: await openStore(context), ref: place }, options)
  } catch (error) {
    // No snapshot has that name, but perhaps a file or directory here.
    const kind = error instanceof VarveError && error.code === 'NOT_FOUND' ? error.details.kind : undefined
    if ((kind !== 'snapshot' && kind !== 'store') || !existsSync(place)) throw error
    return checkSnapshot(await snapshotFiles(place), options)
  }
}
