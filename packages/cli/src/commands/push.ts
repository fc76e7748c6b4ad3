import { listOption, positionals } from '../arguments.js'
import type { Command } from '../command.js'
import { credentialsHelp, loadRemote, openRemote, remoteHelp, remoteOptions } from '../remote.js'
import { openStore, storeOption } from '../store.js'
import { count, humanBytes, shortId } from '../text.js'

export const command: Command = {
  usage: 'usage: varve push REF PLACE [--force] [--mount NAME] [options]',
  options: {
    ...storeOption,
    ...remoteOptions,
    force: { type: 'boolean' },
    mount: { type: 'string', multiple: true },
    'no-working-sets': { type: 'boolean' },
  },
  help: `
  REF         the snapshot
${remoteHelp}
  --force     let TAG mean this snapshot also if it means another one there
  --mount NAME  another repository of the registry that may have some of the blobs: they are taken
              from there and not sent. May be given several times
  --no-working-sets  leave the working sets of the snapshot here

Blobs that are there are not sent again. Blobs come first, the tag last: if push is interrupted, the
same command goes on where it was. Without TAG, the snapshot is found there by its id. A tag of a
bucket changes by a conditional write. A registry has none: let one host write a tag.

${credentialsHelp}

Examples:
  varve push web registry.example/team/vms:monday
  varve push web s3://snapshots/team#monday`,
  run: async (context) => {
    const [ref, text] = positionals(context, ['REF', 'PLACE'])
    const { signal, values } = context
    const { place, remote } = await openRemote(text, context, { mountFrom: listOption(values, 'mount') })
    const { pushSnapshot } = await loadRemote()
    const store = await openStore(context)
    const report = await context.progress(`pushing ${ref}`, (onProgress) =>
      pushSnapshot(store, ref, remote, {
        tag: place.tag,
        replace: values.force === true,
        workingSets: values['no-working-sets'] !== true,
        signal,
        onProgress,
      }),
    )
    if (context.json) return context.printJson({ place: remote.location, ...report })
    const { id, tag, sentBlobs, sentBytes, presentBytes } = report
    const named = tag === null ? '' : `  ${tag}`
    context.print(
      `${shortId(id)}${named}  ${count(sentBlobs, 'blob')}, ${humanBytes(sentBytes)} sent; ${humanBytes(presentBytes)} were there`,
    )
  },
}
