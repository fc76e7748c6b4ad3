import { positionals } from '../arguments.js'
import type { Command } from '../command.js'
import { credentialsHelp, loadRemote, openRemote, remoteHelp, remoteOptions, tagOf } from '../remote.js'

export const command: Command = {
  usage: 'usage: varve rm PLACE [--insecure] [--json]',
  options: remoteOptions,
  help: `
${remoteHelp}

Removes the tag of PLACE. The snapshot stays there under its id; with a whole id in place of the
tag, rm removes that, too. Blobs stay until the registry collects its garbage. varve snapshot rm
removes tags of the store.

${credentialsHelp}

Examples:
  varve rm registry.example/team/vms:monday
  varve rm s3://snapshots/team#monday`,
  run: async (context) => {
    const [text] = positionals(context, ['PLACE'])
    const { place, remote } = await openRemote(text, context)
    const { removeRemote } = await loadRemote()
    const removed = tagOf(place)
    await context.progress(`removing ${removed}`, () =>
      removeRemote(remote, removed, { signal: context.signal }),
    )
    if (context.json) return context.printJson({ place: remote.location, removed })
    context.print(`${removed} removed from ${remote.location}`)
  },
}
