import type { HookOutcome } from '@varve/guest'
import {
  assertTag,
  type CapturedSnapshot,
  captureSnapshot,
  connectMachine,
  type PausedMachine,
  type RunningMachine,
  type SealSnapshotOptions,
  type SnapshotStore,
  type TakeOptions,
  timeTag,
  VarveError,
} from 'varve'
import { countPages } from 'varve/layers'
import { assertWorkingSetName } from 'varve/working-sets'
import { labelOption, labelsOption, listOption, positionals, stringOption } from '../../arguments.js'
import { captureMode, captureModeOptions } from '../../capture-mode.js'
import type { Command, CommandContext } from '../../command.js'
import { hookHelp, hookOptions, hooksOf, type ReportedHook, reportHooks } from '../../hook-options.js'
import { openStore, storeOption } from '../../store.js'
import { movedTags } from '../../tags.js'
import { humanPages, shortId } from '../../text.js'

export const command: Command = {
  usage: 'usage: varve snapshot create NAME [--tag TAG]... [--parent REF | --full] [options]',
  options: {
    ...storeOption,
    tag: { type: 'string', short: 't', multiple: true },
    'no-tag': { type: 'boolean' },
    parent: { type: 'string' },
    full: { type: 'boolean' },
    'working-set': { type: 'string' },
    'keep-paused': { type: 'boolean' },
    ...captureModeOptions,
    ...labelOption,
    ...hookOptions,
  },
  help: `
  NAME           a running or paused machine
  -t, --tag TAG  a name for the snapshot, repeatable; if another snapshot has this name, it moves to
                 the new one. Default: the machine's name and the time in UTC, such as
                 web-20260131-120000
  --no-tag       no name: gc removes the snapshot once the machine has ended or counts from another
                 one
  --parent REF   the snapshot to build on. It must be the one that the machine's log of written
                 pages counts from: the last one taken, or the one restored from. This is the
                 default, if it is in the store
  --full         build on no parent, and have Firecracker write every page
  --working-set NAME  keep what the machine has touched since it was restored as a working set of
                 this snapshot; for machines restored with --engine file
  --label KEY=VALUE  a note about the snapshot, repeatable; varve snapshot ls filters by it
  --keep-paused  leave a running machine paused afterwards
  --live         Varve takes the memory, so that the guest stands still for milliseconds, even if it
                 has written much; an error if that is not possible. Default: if it is possible
  --stop         Firecracker writes the memory while the guest stands still
${hookHelp}

With a parent, the snapshot stores only the pages written since (a Diff). Without one it is a base.
If a machine that has a history needs a new base, create says why; --json has it as "lost".
The guest stands still only while state and memory are taken and disks are copied; all else comes
after it runs again. create makes the store if it does not exist.
A running guest with the agent of @varve/guest runs its hook suspend before, and resume when it runs
again. A hook that fails is reported, and the snapshot is taken.

Examples:
  varve snapshot create web --tag base
  varve snapshot create web -t monday -t latest
  varve snapshot create web --working-set warm
  varve snapshot create web --full --json`,
  run: async (context) => {
    const [name] = positionals(context, ['NAME'])
    const { signal } = context
    // What can be wrong with the command line is found out before the guest stands still.
    const tagsAsked = listOption(context.values, 'tag').map(assertTag)
    if (context.values['no-tag'] === true && tagsAsked.length > 0)
      throw new VarveError('USAGE', 'give --tag or --no-tag, not both')
    const workingSet = stringOption(context.values, 'working-set')
    if (workingSet !== undefined) assertWorkingSetName(workingSet)
    const store = await openStore(context, { create: true })
    const machine = await connectMachine(name, { signal })
    if (machine.state === 'launched') throw new VarveError('MACHINE_STATE', `${name} has not booted`)
    const labels = labelsOption(context.values)
    const mode = captureMode(context.values)
    const take: TakeOptions = { store, signal, workingSet, labels, mode, ...(await buildsOn(context, store)) }
    const asked = await hooksOf(machine, context)
    const entries = await store.list()
    const tags =
      tagsAsked.length > 0 || context.values['no-tag'] === true ? tagsAsked : [timeTag(name, entries)]
    const captured = await context.progress(`snapshot of ${name}`, (update) =>
      capture(
        machine,
        { ...take, tags },
        {
          keepPaused: context.values['keep-paused'] === true,
          asked,
          seal: { tags, signal, onProgress: update },
        },
      ),
    )
    const hooks = reportHooks(name, captured.hooks, context)
    if (captured.lost !== null) context.say(captured.lost.message)
    for (const { tag, from, last } of movedTags(entries, tags))
      context.say(
        `${tag} named ${shortId(from)} before${last ? ', which has no tag now: gc removes it unless a machine needs it' : ''}`,
      )
    printResult(context, captured, hooks)
  },
}

/** Takes while the guest stands still, and seals when it runs again. */
async function capture(
  machine: RunningMachine | PausedMachine,
  take: TakeOptions,
  {
    keepPaused,
    asked,
    seal,
  }: {
    readonly keepPaused: boolean
    readonly asked: Awaited<ReturnType<typeof hooksOf>>
    readonly seal: SealSnapshotOptions
  },
): Promise<CapturedSnapshot & { readonly hooks: readonly HookOutcome[] }> {
  const { signal } = take
  const hook = { hookMs: asked?.hookMs, signal }
  if (machine.state === 'paused' || !keepPaused) {
    const options = { ...take, ...seal }
    if (asked !== undefined) return asked.guests.captureGuest(machine, { ...options, ...hook })
    return Object.assign(await captureSnapshot(machine, options), { hooks: [] })
  }
  const { machine: held, hooks } =
    asked === undefined
      ? { machine: await machine.pause({ signal }), hooks: [] }
      : await asked.guests.pauseGuest(machine, hook)
  try {
    return Object.assign(await captureSnapshot(held, { ...take, ...seal }), { hooks })
  } catch (error) {
    // Whatever became of the snapshot, a machine that ran goes on. No signal: that
    // must happen also after Ctrl-C.
    if (asked === undefined) await held.resume()
    else await asked.guests.resumeGuest(held, { hookMs: asked.hookMs })
    throw error
  }
}

/** An id, so that `last` is a tag like any other here. */
async function buildsOn(
  { values }: CommandContext,
  store: SnapshotStore,
): Promise<Pick<TakeOptions, 'parent' | 'base'>> {
  const parent = stringOption(values, 'parent')
  if (values.full === true && parent !== undefined)
    throw new VarveError('USAGE', 'give --parent or --full, not both')
  if (values.full === true) return { base: 'Full' }
  return parent === undefined ? {} : { parent: (await store.resolve(parent)).id }
}

function printResult(
  context: CommandContext,
  { entry, layer, type, lost, way, standstillMs, createMs, disksMs }: CapturedSnapshot,
  hooks: readonly ReportedHook[],
): void {
  const { id, tags, parent } = entry
  const { data, zero } = countPages(layer.index)
  const memoryPages = layer.index.pages
  if (context.json) {
    const kind = type === 'Full' ? 'full' : 'diff'
    const counts = { memoryPages, dataPages: data, zeroPages: zero }
    context.printJson({
      id,
      tags,
      parent,
      kind,
      ...counts,
      lost,
      way,
      standstillMs,
      createMs,
      disksMs,
      hooks,
    })
    return
  }
  const standstill =
    standstillMs === null ? 'guest was paused' : `guest stood still ${standstillMs.toFixed(0)} ms`
  const built = parent === null ? 'a base' : `on ${shortId(parent)}`
  context.print(
    `${tags[0] ?? shortId(id)}  ${shortId(id)}  ${built}  ${humanPages(data)} of data in ${humanPages(memoryPages)}  ${standstill} (${way.mode}: ${way.because})`,
  )
}
