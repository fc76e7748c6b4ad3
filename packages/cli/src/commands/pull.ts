import { assertTag } from 'varve'
import { listOption, positionals } from '../arguments.js'
import type { Command } from '../command.js'
import { credentialsHelp, loadRemote, openRemote, remoteHelp, remoteOptions, tagOf } from '../remote.js'
import { openStore, storeOption } from '../store.js'
import { count, humanBytes, shortId } from '../text.js'

export const command: Command = {
  usage: 'usage: varve pull PLACE [--tag TAG]... [options]',
  options: {
    ...storeOption,
    ...remoteOptions,
    tag: { type: 'string', multiple: true },
    'no-working-sets': { type: 'boolean' },
  },
  help: `
${remoteHelp}
  --tag TAG   a name for the snapshot in the store; may be given several times. Default: its tag
              there. A tag that another snapshot of the store has stays where it is
  --no-working-sets  leave the working sets of the snapshot there

PLACE must have a tag, or a whole id in its place. Each blob is compared with its digest. What the
store has is not fetched again: if pull is interrupted, the same command goes on with the blobs that
had not arrived. Then all is checked as by varve import. pull makes the store if it does not exist.

${credentialsHelp}

Examples:
  varve pull registry.example/team/vms:monday
  varve pull s3://snapshots/team#monday --tag web`,
  run: async (context) => {
    const [text] = positionals(context, ['PLACE'])
    const { signal, values } = context
    const { place, remote } = await openRemote(text, context)
    const { pullSnapshot } = await loadRemote()
    const wanted = tagOf(place)
    const given = listOption(values, 'tag').map(assertTag)
    const tags = given.length > 0 || /^[0-9a-f]{32}$/.test(wanted) ? given : [wanted]
    const store = await openStore(context, { create: true })
    const { entry, ...moved } = await context.progress(`pulling ${wanted}`, (onProgress) =>
      pullSnapshot(remote, wanted, store, {
        tags,
        workingSets: values['no-working-sets'] !== true,
        signal,
        onProgress,
      }),
    )
    for (const tag of tags.filter((it) => !entry.tags.includes(it)))
      context.say(`varve: the tag ${tag} of the store means another snapshot, and stays with it`)
    const { id, parent, createdAt } = entry
    if (context.json)
      return context.printJson({ place: remote.location, id, parent, createdAt, tags: entry.tags, ...moved })
    context.print(
      `${[shortId(id), ...entry.tags].join('  ')}  ${count(moved.sentBlobs, 'blob')}, ${humanBytes(moved.sentBytes)} fetched; ${humanBytes(moved.presentBytes)} were here`,
    )
  },
}
