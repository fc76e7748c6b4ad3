import {
  assertTag,
  type Clones,
  cloneMachines,
  connectMachine,
  type LiveClones,
  listMachines,
  type MemoryUse,
  memoryUse,
  type PausedMachine,
  type RestoreUsage,
  type RunningMachine,
  VarveError,
} from 'varve'
import { integerOption, listOption, positionals, stringOption } from '../arguments.js'
import type { Command, CommandContext } from '../command.js'
import { firecrackerPlaces } from '../firecracker-options.js'
import { chosenFixUp, fixUpHelp, fixUpOptions } from '../fix-up-options.js'
import { hooksOf, type ReportedHook, reportHooks } from '../hook-options.js'
import { pageLines } from '../render-restore.js'
import { chosenWorkingSet, restoreChoices, restoreHelp, restoreOptions } from '../restore-options.js'
import { isSnapshot, openStore, storeOption } from '../store.js'
import { humanBytes, shortId, table } from '../text.js'

export const command: Command = {
  usage: 'usage: varve clone REF|NAME [-n N] [--name PREFIX] [--parallel N] [options]',
  options: {
    ...storeOption,
    ...restoreOptions,
    ...fixUpOptions,
    count: { type: 'string', short: 'n' },
    name: { type: 'string' },
    parallel: { type: 'string' },
    live: { type: 'boolean' },
    tag: { type: 'string', short: 't', multiple: true },
  },
  help: `
  REF                    a snapshot: the clones are restored from it
  NAME                   a running or paused machine: the clones have its state of this moment, and
                         answer before its snapshot is complete; this command ends when it is
  --live                 clone the machine, if a snapshot has the same name
  -t, --tag TAG          with NAME: a tag for the new snapshot, repeatable. A snapshot without a tag
                         is kept as long as a machine needs it
  -n, --count N          how many clones, default 2
  --name PREFIX          the clones are named PREFIX-1, PREFIX-2, …; default random names
  --parallel N           how many restores run at a time, default 4
${restoreHelp}
${fixUpHelp}

Each clone has its own disks, vsock socket and console, and keeps running after this command.
PRIVATE is memory that only this clone uses. SHARED is memory that it shares with others: pages of
files in the page cache. If one clone of a snapshot cannot be restored, all of them are removed. If
one clone of a machine cannot be restored, the others stay, and the command fails.

Each clone of a guest with the agent gets an identity of its own. A running guest that is cloned
runs its hook suspend before, and resume when it runs on.

With NAME, the options of engines and working sets are not allowed. The machine is paused for
milliseconds, and must meet the requirements of snapshot create --live.

Examples:
  varve clone monday -n 8 --name web
  varve clone monday -n 16 --working-set hello --json
  varve clone web -n 4 --tag fork-1`,
  run: async (context) => {
    const [ref] = positionals(context, ['REF'])
    const { signal, values } = context
    const count = integerOption(values, 'count') ?? 2
    const parallel = integerOption(values, 'parallel')
    if (count < 1 || parallel === 0) throw new VarveError('USAGE', '-n and --parallel are at least 1')
    const plan = { count, parallel, name: stringOption(values, 'name') }
    const machine = await machineToClone(ref, context)
    const { clones, live } =
      machine === undefined
        ? { clones: await clonesOfSnapshot(ref, plan, context), live: undefined }
        : await clonesOfMachine(machine, plan, context)
    await Promise.all(clones.map(({ prefetching }) => prefetching))
    const rows = []
    for (const { machine, report, usage } of clones) {
      const { id, pid, state, vsockPath: vsock } = machine
      rows.push({
        ...{ id, pid, state, vsock, restoreMs: report.totalMs, engine: report.engine },
        ...{
          phasesMs: report.phasesMs,
          fixUp: report.fixUp,
          usage: await usage({ signal }),
          memory: memoryUse(pid),
        },
      })
    }
    for (const { machine } of clones) machine.detach()
    const pages = clones[0]?.report.pages
    if (context.json) context.printJson({ pages, machines: rows, ...live })
    else {
      context.print(renderRows(rows))
      if (pages !== undefined) for (const line of pageLines(pages)) context.print(line)
      if (live !== undefined)
        context.print(`the snapshot ${shortId(live.snapshot)}; ${ref} stood still for ${standstill(live)}`)
    }
    const [failure] = clones.failed
    if (failure !== undefined) throw failure.error
  },
}

interface Plan {
  readonly count: number
  readonly parallel: number | undefined
  readonly name: string | undefined
}

/** The machine of that name, if the name means a machine and not a snapshot. */
async function machineToClone(
  name: string,
  context: CommandContext,
): Promise<RunningMachine | PausedMachine | undefined> {
  const { signal, values } = context
  const live = values.live === true
  const isMachine = listMachines().some(({ record }) => record.id === name)
  if (!isMachine && !live) return undefined
  if (!live && (await isSnapshot(name, context)))
    throw new VarveError('USAGE', `${name} is both a machine and a snapshot`, {
      remedy: 'say --live for the machine, or the id of the snapshot',
    })
  const machine = await connectMachine(name, { signal })
  if (machine.state !== 'launched') return machine
  throw new VarveError('MACHINE_STATE', `${name} has no guest yet`, { remedy: 'boot or restore it first' })
}

async function clonesOfSnapshot(
  ref: string,
  { count, ...plan }: Plan,
  context: CommandContext,
): Promise<Clones<RunningMachine | PausedMachine>> {
  const { signal } = context
  if (context.values.tag !== undefined) throw new VarveError('USAGE', '--tag is for clones of a machine')
  const choices = restoreChoices(context)
  const store = await openStore(context)
  // By its id from here on: the tag may move before the snapshot is opened.
  const { config, entry } = await store.describe(ref)
  const fixUp = await chosenFixUp(context, config.guestAgent)
  const set = await chosenWorkingSet(store, entry.id, context)
  return context.progress(`cloning ${ref}`, (onProgress) =>
    cloneMachines(store, entry.id, count, { ...choices, ...set, ...plan, ...fixUp, signal, onProgress }),
  )
}

/** What means nothing for memory that is in no snapshot yet. */
const ofSnapshots = [
  ...['engine', 'experimental', 'working-set', 'prefetch', 'prefetch-budget', 'graduate'],
] as const

async function clonesOfMachine(
  machine: RunningMachine | PausedMachine,
  { count, ...plan }: Plan,
  context: CommandContext,
): Promise<{ readonly clones: Clones<RunningMachine | PausedMachine>; readonly live: Live }> {
  const { signal, values } = context
  const wrong = ofSnapshots.find((name) => values[name] !== undefined)
  if (wrong !== undefined)
    throw new VarveError('USAGE', `--${wrong} is for clones of a snapshot, and ${machine.id} is a machine`)
  const { resume, faultCpu, trackDirtyPages, labels } = restoreChoices(context)
  const fixUp = await chosenFixUp(context, machine.guestAgent)
  const asked = await hooksOf(machine, context)
  const store = await openStore(context, { create: true })
  const options = {
    ...{ ...firecrackerPlaces(values), ...plan, ...fixUp, resume, faultCpu, trackDirtyPages, labels },
    ...{ store, tags: listOption(values, 'tag').map(assertTag), signal },
  }
  return context.progress(`cloning ${machine.id}`, async (onProgress) => {
    const clone = (onTaken?: () => void) => cloneMachines(machine, count, { ...options, onTaken, onProgress })
    const { value: clones, hooks } =
      asked === undefined
        ? { value: await clone(), hooks: [] }
        : await asked.guests.whileSuspended(machine, { hookMs: asked.hookMs, signal }, clone)
    return { clones, live: { ...(await liveOf(clones)), hooks: reportHooks(machine.id, hooks, context) } }
  })
}

interface Live {
  readonly snapshot: string
  readonly standstillMs: number | null
  readonly failed: readonly { readonly number: number; readonly message: string }[]
  readonly hooks: readonly ReportedHook[]
}

/** Once the clones live on their own. */
async function liveOf({
  sealed,
  standstillMs,
  failed,
}: LiveClones<RunningMachine | PausedMachine>): Promise<Omit<Live, 'hooks'>> {
  const { entry } = await sealed
  return {
    snapshot: entry.id,
    standstillMs,
    failed: failed.map(({ number, error }) => ({ number, message: (error as Error).message })),
  }
}

const standstill = ({ standstillMs }: Live) =>
  standstillMs === null ? 'no time: it was paused' : `${standstillMs.toFixed(1)} ms`

interface Row {
  readonly id: string
  readonly state: string
  readonly pid: number
  readonly restoreMs: number
  readonly usage: RestoreUsage
  readonly memory: MemoryUse | null
}

const renderRows = (rows: readonly Row[]): string =>
  table(
    [
      ['NAME', 'STATE', 'PID', 'RESTORED IN', 'FAULTS', 'PRIVATE', 'SHARED'],
      ...rows.map(({ id, state, pid, restoreMs, usage, memory }) => [
        id,
        state,
        String(pid),
        `${restoreMs.toFixed(0)} ms`,
        String(usage.faults.minor + usage.faults.major),
        memory === null ? '-' : humanBytes(memory.privateDirtyBytes + memory.privateCleanBytes),
        memory === null ? '-' : humanBytes(memory.sharedBytes),
      ]),
    ],
    { right: [2, 3, 4, 5, 6] },
  )
