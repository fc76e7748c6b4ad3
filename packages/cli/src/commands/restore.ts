import { restoreMachine } from 'varve'
import { positionals, stringOption } from '../arguments.js'
import type { Command } from '../command.js'
import {
  chosenFixUp,
  fixUpHelp,
  fixUpOptions,
  sameIdentityHelp,
  sameIdentityOption,
} from '../fix-up-options.js'
import { pageLines, usageLines } from '../render-restore.js'
import { restoreLayered } from '../restore-layered.js'
import { chosenWorkingSet, restoreChoices, restoreHelp, restoreOptions } from '../restore-options.js'
import { openStore, storeOption } from '../store.js'
import { count, humanPages } from '../text.js'

export const command: Command = {
  usage: 'usage: varve restore REF [--name NAME] [--engine NAME] [--working-set SET] [options]',
  options: {
    ...storeOption,
    name: { type: 'string' },
    ...restoreOptions,
    ...fixUpOptions,
    ...sameIdentityOption,
  },
  help: `
  REF                    the snapshot; with --engine layered, a directory that was written by
                         varve flatten --layered
  --name NAME            1-32 of a-z, 0-9, '-'; default a random one
${restoreHelp}
${fixUpHelp}
${sameIdentityHelp}
  --engine layered       restore from the files state and memory of the directory REF, without a
                         store: memory lists ranges of the files next to it, which are mapped as
                         with --engine mapped

restore prints the time of each phase; the number of pages by class (zero, cold, read-only, written;
the last two as the working set says) and by origin; and the faults and bytes read so far (see varve
stats). The machine keeps running after this command, and so does its page server. It has its own
copy of each disk that the guest may write to. It holds a lease on the snapshot, so that gc does not
remove the files that it needs.

A guest with the agent gets an identity of its own, also under the name of the machine that was
captured: other machines of its snapshot may run, on this host or another. If it is left paused, it
gets it from varve resume.

Examples:
  varve restore monday --name web2
  varve restore 9f86d081 --engine paged --json`,
  run: async (context) => {
    const [ref] = positionals(context, ['REF'])
    if (context.values.engine === 'layered') return restoreLayered(context, ref)
    const { signal, values } = context
    const name = stringOption(values, 'name')
    const choices = restoreChoices(context)
    const store = await openStore(context)
    // By its id from here on: the tag may move before the snapshot is opened.
    const { config, entry } = await store.describe(ref)
    const fixUp = await chosenFixUp(context, config.guestAgent)
    const set = await chosenWorkingSet(store, entry.id, context)
    const { machine, report, prefetching, usage } = await context.progress(`restoring ${ref}`, (update) =>
      restoreMachine(store, entry.id, {
        ...choices,
        ...set,
        ...fixUp,
        name,
        signal,
        onProgress: update,
      }),
    )
    const { id, pid, state, vsockPath } = machine
    machine.detach()
    const prefetched = (await prefetching) ?? null
    const used = await usage({ signal })
    if (prefetched?.failure) context.say(`the working set did not all come: ${prefetched.failure}`)
    if (context.json)
      return context.printJson({ id, pid, state, vsock: vsockPath, ...report, prefetched, usage: used })
    const phases = Object.entries(report.phasesMs).map(([phase, ms]) => `${phase} ${ms.toFixed(1)} ms`)
    context.print(
      `${id}  ${state}  pid ${pid}  ${report.engine}, ${count(report.layers, 'layer')}  ${phases.join(', ')}`,
    )
    const { firecracker } = report
    context.print(
      `firecracker  ${firecracker.version}${firecracker.origin === null ? '' : ` (${firecracker.origin})`}: ${firecracker.reason}`,
    )
    if (report.reason !== null) context.print(`engine  ${report.engine}: ${report.reason}`)
    if (report.fixUp !== null)
      context.print(`fix-up  ${report.fixUp.map((it) => `${it.name} ${it.ms.toFixed(1)} ms`).join(', ')}`)
    if (report.workingSet !== null)
      context.print(
        `working set  ${humanPages(report.workingSet.pages)}${report.workingSet.droppedPages > 0 ? `, ${humanPages(report.workingSet.droppedPages)} of it others here` : ''}${prefetched === null ? '' : `  ${count(prefetched.requests, 'request')} for ${humanPages(prefetched.pages)} in ${prefetched.ms.toFixed(1)} ms`}`,
      )
    const heldBecause = report.mapping?.prefault.heldBecause ?? null
    if (heldBecause !== null)
      context.print(
        `held  the VM waited for its working set: ${heldBecause}, so no thread could bring it alongside the guest`,
      )
    for (const line of [...pageLines(report.pages), ...usageLines(used)]) context.print(line)
  },
}
