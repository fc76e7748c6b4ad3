import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  connectMachine,
  engineNames,
  type MachineRecording,
  type RecordMachineOptions,
  recordMachine,
  restoreMachine,
  type SnapshotStore,
  timeTag,
  VarveError,
} from 'varve'
import { presentPages, type RecorderName, recorderNames } from 'varve/working-sets'
import { integerOption, stringOption } from '../../arguments.js'
import type { Command, CommandContext } from '../../command.js'
import { oneOf } from '../../restore-options.js'
import { openStore, storeOption } from '../../store.js'
import { humanPages } from '../../text.js'

export const command: Command = {
  usage: `usage: varve ws record REF [options] [-- COMMAND [ARG]...]
       varve ws record --machine NAME [options] [-- COMMAND [ARG]...]`,
  options: {
    ...storeOption,
    save: { type: 'string' },
    machine: { type: 'string' },
    recorders: { type: 'string' },
    engine: { type: 'string' },
    for: { type: 'string' },
    'max-pages': { type: 'string' },
  },
  help: `
  REF                restore this snapshot, record while COMMAND runs, end the machine
  --machine NAME     record a running machine from now on. It must come from a snapshot of the
                     store, and no snapshot of it may have been taken since. It runs on afterwards
  COMMAND [ARG]...   makes the guest do the work. It finds the machine in the variables
                     VARVE_MACHINE, VARVE_VSOCK and VARVE_CONSOLE. Without COMMAND, give --for
  --for SECONDS      end the recording after this time (with COMMAND: at the latest); default for
                     a COMMAND: 60
  --save NAME        the name of the set in the snapshot; default "recorded" and the time. If a set
                     has that name, it is replaced
  --recorders LIST   names with commas. pagemap (default) finds pages that are read and written;
                     mincore finds pages that came into the page cache, in more groups (it drops
                     the page cache first, and needs diff as well); diff finds written pages,
                     exactly; faults finds from the page server's answers exactly which pages are
                     touched, in order, and which are written. A page that is written with its old
                     content counts as only read; faults says how many pages these may be
  --engine file|paged|mapped
                     default file, for faults paged
  --max-pages N      end the recording once it has this many pages; default 1,048,576 (4 GiB)

A page counts as only read if it was touched and not written to. The snapshot keeps the set; if
COMMAND fails, nothing is kept. The set includes pages that Firecracker touches: a restore needs
them.

Examples:
  varve ws record monday --save hello -- ./invoke-hello.sh
  varve ws record monday --recorders mincore,diff --for 5
  varve ws record --machine web --for 10 --json`,
  run: async (context) => {
    const { positionals: words, values, signal } = context
    const name = stringOption(values, 'machine')
    const [ref, ...command] = name === undefined ? words : ['', ...words]
    if (ref === undefined || (ref === '' && name === undefined))
      throw new VarveError('USAGE', 'expected REF or --machine NAME')
    const seconds = integerOption(values, 'for')
    if (command.length === 0 && seconds === undefined)
      throw new VarveError('USAGE', 'say how long: give a COMMAND after --, or --for SECONDS')
    const store = await openStore(context)
    const record: RecordMachineOptions = {
      recorders: recordersOf(stringOption(values, 'recorders') ?? 'pagemap'),
      maxMs: (seconds ?? 60) * 1000 + graceMs,
      ...optionalNumber('maxPages', integerOption(values, 'max-pages')),
      ...(command.length === 0
        ? {}
        : { notes: { command: command.slice(0, 64).map((it) => it.slice(0, 256)) } }),
      signal,
    }
    const work = (about: Surroundings) => runWork(command, (seconds ?? 60) * 1000, about, context)
    const done = await context.progress(`recording ${name ?? ref}`, () =>
      name === undefined
        ? recordRestored(store, ref, record, work, context)
        : recordRunning(store, name, record, work, context),
    )
    const set = stringOption(values, 'save') ?? timeTag('recorded', [])
    const { workingSet, recorded } = done
    await store.saveWorkingSet(workingSet.image, set, workingSet, { signal })
    const warnings = recorded.flatMap(({ warning }) => (warning === null ? [] : [warning]))
    for (const warning of warnings) context.say(warning)
    const pages = presentPages(workingSet).pages
    if (context.json)
      return context.printJson({
        snapshot: workingSet.image,
        name: set,
        memoryPages: workingSet.pages,
        pages,
        readOnlyPages: workingSet.readOnly.pages,
        writtenPages: workingSet.written.pages,
        groups: workingSet.groups.length,
        windowMs: workingSet.windowMs,
        recorders: recorded.map(({ recorder, exact, scans, endedBy, notes }) => ({
          recorder,
          exact,
          scans,
          endedBy,
          notes,
        })),
        warnings,
      })
    context.print(
      `${ref || workingSet.image.slice(0, 12)}:${set}  ${humanPages(pages)} of ${humanPages(workingSet.pages)} touched: ${humanPages(workingSet.readOnly.pages)} only read, ${humanPages(workingSet.written.pages)} written`,
    )
    const unchanged = unchangedPages(recorded)
    if (unchanged > 0)
      context.print(
        `${humanPages(unchanged)} of the pages counted as only read may have been written with the content that they had`,
      )
  },
}

/**
 * What the faults recorder cannot tell apart: pages only read, and pages written with the content that they
 * had.
 */
function unchangedPages(recorded: Done['recorded']): number {
  const notes = recorded.find(({ recorder }) => recorder === 'faults')?.notes.faults
  return (notes as { readonly unchanged: number } | undefined)?.unchanged ?? 0
}

/** The recorder must not end by its time before the work does. */
const graceMs = 5000

interface Surroundings {
  readonly id: string
  readonly vsockPath: string | null
  readonly console: string
}

type Done = Awaited<ReturnType<MachineRecording['stop']>>

async function recordRestored(
  store: SnapshotStore,
  ref: string,
  record: RecordMachineOptions,
  work: (about: Surroundings) => Promise<void>,
  { values, signal }: CommandContext,
): Promise<Done> {
  const { machine, recording } = await restoreMachine(store, ref, {
    engine: oneOf(
      engineNames,
      'engine',
      stringOption(values, 'engine') ?? (record.recorders.includes('faults') ? 'paged' : 'file'),
    ),
    randomAccess: true,
    record,
    signal,
  })
  await using _machine = machine
  await using going = recording as MachineRecording
  await work({ id: machine.id, vsockPath: machine.vsockPath, console: machine.paths.consoleInput })
  return await going.stop()
}

async function recordRunning(
  store: SnapshotStore,
  name: string,
  record: RecordMachineOptions,
  work: (about: Surroundings) => Promise<void>,
  { signal }: CommandContext,
): Promise<Done> {
  const machine = await connectMachine(name, { signal })
  if (machine.state === 'launched') throw new VarveError('MACHINE_STATE', `${name} has not booted`)
  await using going = await recordMachine(machine, store, record)
  await work({ id: machine.id, vsockPath: machine.vsockPath, console: machine.paths.consoleInput })
  return await going.stop()
}

/** Waits for the command, or for the time if there is none. A command that takes longer is ended. */
async function runWork(
  [file, ...args]: readonly string[],
  limitMs: number,
  { id, vsockPath, console }: Surroundings,
  { signal, say }: CommandContext,
): Promise<void> {
  if (file === undefined) return void (await sleep(limitMs, undefined, { signal }))
  const child = spawn(file, args, {
    // Standard output is this command's own.
    stdio: ['ignore', 2, 2],
    env: { ...process.env, VARVE_MACHINE: id, VARVE_VSOCK: vsockPath ?? '', VARVE_CONSOLE: console },
    signal,
  })
  let late = false
  // Not spawn's own: that keeps a process that could not even start it waiting.
  const timer = setTimeout(() => {
    late = child.kill()
  }, limitMs)
  const [status, by] = (await once(child, 'exit')
    .catch((error: Error) => {
      if (signal.aborted) throw error
      throw new VarveError('COMMAND_FAILED', `${file} could not be run: ${error.message}`, { cause: error })
    })
    .finally(() => clearTimeout(timer))) as [number | null, string | null]
  if (late) return say(`${file} was ended after ${limitMs / 1000} s; what it did until then is kept`)
  if (status !== 0)
    throw new VarveError('COMMAND_FAILED', `${file} ended with ${status ?? by}; nothing is kept`, {
      details: { status, signal: by },
    })
}

function recordersOf(list: string): RecorderName[] {
  return list.split(',').map((text) => {
    const found = recorderNames.find((it) => it === text)
    if (found === undefined)
      throw new VarveError(
        'USAGE',
        `--recorders ${list}: ${JSON.stringify(text)} is none of ${recorderNames.join(', ')}`,
      )
    return found
  })
}

const optionalNumber = <Name extends string>(name: Name, value: number | undefined) =>
  (value === undefined ? {} : { [name]: value }) as { readonly [K in Name]?: number }
