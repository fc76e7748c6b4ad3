import { VarveError } from 'varve'
import { stringOption } from '../arguments.js'
import type { Command } from '../command.js'
import { openStore, storeOption } from '../store.js'
import { count, humanBytes } from '../text.js'

export const command: Command = {
  usage: 'usage: varve export FILE REF... [--working-set SET] | varve export FILE --all',
  options: { ...storeOption, all: { type: 'boolean' }, 'working-set': { type: 'string' } },
  help: `
  FILE    the archive to make; must not exist, appears whole or not at all
  REF...  the snapshots; their parents are not needed
  --all   all snapshots that have a tag
  --working-set SET  put the pages of this working set first, as a layer of their own, so that a
          restore could begin with them before it has the rest. SET is a name that each snapshot
          has, or REF:NAME of a set of a snapshot that each of them is or descends from

The archive is a tar file of an OCI image layout (docs/formats/store-v1.md) with tags and every
layer, state and disk of the snapshots, each blob once. varve import reads it; so do tools that read
OCI layouts.

Examples:
  varve export week.tar monday friday
  varve export all.tar --all`,
  run: async (context) => {
    const [path, ...refs] = context.positionals
    const { signal, values } = context
    if (path === undefined) throw new VarveError('USAGE', 'expected FILE and at least one REF, or --all')
    if (values.all === true ? refs.length > 0 : refs.length === 0)
      throw new VarveError('USAGE', 'give at least one REF, or --all, not both')
    const workingSet = stringOption(values, 'working-set')
    const store = await openStore(context)
    const chosen = []
    if (values.all === true)
      chosen.push(...(await store.list()).filter(({ tags }) => tags.length > 0).map(({ id }) => id))
    else for (const ref of refs) chosen.push((await store.resolve(ref)).id)
    const snapshots = [...new Set(chosen)]
    const { bytes } = await context.progress(`writing ${path}`, (onProgress) =>
      store.exportTo(snapshots, path, { signal, onProgress, workingSet }),
    )
    if (context.json) return context.printJson({ path, bytes, snapshots })
    context.print(`${path}  ${count(snapshots.length, 'snapshot')}, ${humanBytes(bytes)}`)
  },
}
