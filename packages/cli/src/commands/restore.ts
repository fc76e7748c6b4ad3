import {
  engineNames,
  prefetchModes,
  restoreMachine,
  type SnapshotStore,
  VarveError,
  type WorkingSet,
} from 'varve'
import { positionals, stringOption } from '../arguments.js'
import type { Command, CommandContext } from '../command.js'
import { openStore, storeOption } from '../store.js'
import { count, humanPages } from '../text.js'
import { loadWorkingSet } from '../working-set-place.js'

export const command: Command = {
  usage: 'usage: varve restore REF [--name NAME] [--engine NAME] [--working-set SET] [options]',
  options: {
    ...storeOption,
    name: { type: 'string' },
    engine: { type: 'string' },
    'working-set': { type: 'string' },
    prefetch: { type: 'string' },
    paused: { type: 'boolean' },
    'no-dirty-tracking': { type: 'boolean' },
  },
  help: `
  REF                    the snapshot
  --name NAME            1-32 of a-z, 0-9, '-'; default a random one
  --engine file          one flat memory file, mapped by Firecracker; flattened once and kept
                         (default)
  --engine paged         a page server brings pages straight from the layers when the guest touches
                         them
  --engine mapped        the layers themselves, mapped into Firecracker while it loads: nothing is
                         flattened, and no process stays; x86_64, needs root or CAP_SYS_PTRACE
  --working-set SET      pages to bring before the guest asks for them: the name of a set kept in
                         the snapshot, REF:NAME of one that it descends from, or a file
  --prefetch MODE        concurrent (default): beside the guest; before: before the guest runs
  --paused               do not resume the guest
  --no-dirty-tracking    no log of written pages; Diff snapshots then need Firecracker 1.13

The machine lives on after this command; so does its page server. It has its own copy of each disk
that the guest may write to, and holds a lease on the snapshot, so that gc leaves alone what it
needs.

Examples:
  varve restore monday --name web2
  varve restore 9f86d081 --engine paged --json`,
  run: async (context) => {
    const [ref] = positionals(context, ['REF'])
    const { signal, values } = context
    const engine = stringOption(values, 'engine') ?? 'file'
    const known = engineNames.find((name) => name === engine)
    if (known === undefined)
      throw new VarveError('USAGE', `--engine ${engine} is none of ${engineNames.join(', ')}`)
    const name = stringOption(values, 'name')
    const mode = stringOption(values, 'prefetch')
    const prefetch = prefetchModes.find((it) => it === mode)
    if (mode !== undefined && prefetch === undefined)
      throw new VarveError('USAGE', `--prefetch ${mode} is none of ${prefetchModes.join(', ')}`)
    const store = await openStore(context)
    const workingSet = await workingSetOption(store, ref, context)
    const { machine, report, prefetching } = await context.progress(`restoring ${ref}`, (update) =>
      restoreMachine(store, ref, {
        engine: known,
        ...(name === undefined ? {} : { name }),
        ...(workingSet === undefined ? {} : { workingSet }),
        ...(prefetch === undefined ? {} : { prefetch }),
        resume: values.paused !== true,
        trackDirtyPages: values['no-dirty-tracking'] !== true,
        signal,
        onProgress: update,
      }),
    )
    const { id, pid, state, vsockPath } = machine
    machine.detach()
    const prefetched = (await prefetching) ?? null
    if (prefetched?.failure) context.say(`the working set did not all come: ${prefetched.failure}`)
    if (context.json) return context.printJson({ id, pid, state, vsock: vsockPath, ...report, prefetched })
    const phases = Object.entries(report.phasesMs).map(([phase, ms]) => `${phase} ${ms.toFixed(1)} ms`)
    context.print(
      `${id}  ${state}  pid ${pid}  ${report.engine}, ${count(report.layers, 'layer')}  ${phases.join(', ')}`,
    )
    if (report.workingSet !== null)
      context.print(
        `working set  ${humanPages(report.workingSet.pages)}${report.workingSet.droppedPages > 0 ? `, ${humanPages(report.workingSet.droppedPages)} of it others here` : ''}${prefetched === null ? '' : `  ${count(prefetched.requests, 'request')} for ${humanPages(prefetched.pages)} in ${prefetched.ms.toFixed(1)} ms`}`,
      )
  },
}

/** A name in the snapshot stays a name; anything else is looked for where it says. */
async function workingSetOption(
  store: SnapshotStore,
  ref: string,
  context: CommandContext,
): Promise<WorkingSet | string | undefined> {
  const text = stringOption(context.values, 'working-set')
  if (text === undefined) return undefined
  const named = (await store.describe(ref)).workingSets.some(({ name }) => name === text)
  return named ? text : await loadWorkingSet(store, text, context)
}
