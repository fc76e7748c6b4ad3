import { positionals } from '../arguments.js'
import type { Command } from '../command.js'
import { credentialsHelp, loadRemote, openRemote, remoteHelp, remoteOptions } from '../remote.js'
import { age, shortId, table } from '../text.js'

export const command: Command = {
  usage: 'usage: varve ls PLACE [--insecure] [--json]',
  options: remoteOptions,
  help: `
${remoteHelp}

Lists the snapshots that tags of PLACE mean, the newest first. varve snapshot ls lists those of the
store.

${credentialsHelp}

Examples:
  varve ls registry.example/team/vms
  varve ls s3://snapshots/team --json`,
  run: async (context) => {
    const [text] = positionals(context, ['PLACE'])
    const { remote } = await openRemote(text, context)
    const { listRemote } = await loadRemote()
    const snapshots = await context.progress(`listing ${remote.location}`, () =>
      listRemote(remote, { signal: context.signal }),
    )
    if (context.json)
      return context.printJson({
        place: remote.location,
        snapshots: snapshots.map(({ id, parent, createdAt, tags, manifest }) => ({
          id,
          parent,
          createdAt,
          tags,
          manifest: manifest.digest,
        })),
      })
    if (snapshots.length === 0) return context.say(`no tag of ${remote.location} means a snapshot`)
    context.print(
      table([
        ['ID', 'TAGS', 'PARENT', 'AGE'],
        ...snapshots.map(({ id, tags, parent, createdAt }) => [
          shortId(id),
          tags.join(' '),
          parent === null ? '-' : shortId(parent),
          age(createdAt),
        ]),
      ]),
    )
  },
}
