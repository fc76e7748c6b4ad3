import { copyDisk, VarveError } from 'varve'
import { flatten, writeLayeredMemory } from 'varve/layers'
import { positionals, stringOption } from '../arguments.js'
import type { Command } from '../command.js'
import { openStore, storeOption } from '../store.js'
import { count, humanBytes, humanPages } from '../text.js'

export const command: Command = {
  usage: 'usage: varve flatten REF FILE [--state FILE | --layered]',
  options: { ...storeOption, state: { type: 'string' }, layered: { type: 'boolean' } },
  help: `
  FILE          the memory file to make; must not exist, appears whole or not at all
  --state FILE  also copy Firecracker's state file there
  --layered     make FILE a directory instead: the state file, a memory file with the pages of the
                first layer, and copies of the other layers (they share blocks if the file system
                can). The memory file's footer lists which ranges come from the copies. Restore it
                with varve restore FILE --engine layered; it does not hold disks

With both files, and with the disks at the paths that the state file names, plain Firecracker loads
the snapshot (PUT /snapshot/load). The file is sparse. It shares blocks with the store if the file
system can (FICLONERANGE); otherwise the kernel copies them (copy_file_range), or Varve reads and
writes them. The output says which. varve restore needs none of this.

Example:
  varve flatten monday monday.mem --state monday.state`,
  run: async (context) => {
    const [ref, path] = positionals(context, ['REF', 'FILE'])
    const { signal, values } = context
    const statePath = stringOption(values, 'state')
    const store = await openStore(context)
    if (values.layered === true) {
      if (statePath !== undefined)
        throw new VarveError('USAGE', '--layered has the state file in its directory')
      const id = await context.progress(`laying out ${ref}`, async (onProgress) => {
        await using snapshot = await store.open(ref, { signal, onProgress })
        await writeLayeredMemory(snapshot, path, { signal })
        return snapshot.entry.id
      })
      if (context.json) return context.printJson({ id, path, layered: true })
      return context.print(`${path}  memory, state and layers; varve restore ${path} --engine layered`)
    }
    const { id, layers, result } = await context.progress(`flattening ${ref}`, async (onProgress) => {
      await using snapshot = await store.open(ref, { signal, onProgress })
      const made = await flatten(snapshot, path, {
        signal,
        onProgress: (pages, total) => onProgress(`${pages} of ${total} pages`),
      })
      if (statePath !== undefined) await copyDisk(snapshot.statePath, statePath, { signal })
      return { id: snapshot.entry.id, layers: snapshot.layers.length, result: made }
    })
    const { pages, dataPages, method, pagesBy, sharedBytes } = result
    if (context.json)
      return context.printJson({
        id,
        path,
        state: statePath ?? null,
        layers,
        pages,
        dataPages,
        method,
        pagesBy,
        sharedBytes,
      })
    context.print(
      `${path}  ${humanPages(pages)}, ${humanPages(dataPages)} of it data, from ${count(layers, 'layer')} by ${method}${sharedBytes > 0 ? `, ${humanBytes(sharedBytes)} shared` : ''}`,
    )
  },
}
