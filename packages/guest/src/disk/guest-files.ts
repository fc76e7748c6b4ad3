import { VarveError } from 'varve'
import { maxWords, tag } from '../agent/bounds.js'
import { encodeFields, type Field } from '../agent/fields.js'
import type { ContentSpool } from '../image/content-spool.js'
import type { ImageConfig } from '../image/image-config.js'
import type { ImageTree } from '../image/image-tree.js'

/** The agent reads no more of it, and nothing at all, its user neither, of a file with more words. */
const maxBytes = 65_536

/**
 * Adds what the agent reads of an image: `/etc/varve/image` has its environment, folder and user, which
 * commands get unless they are given others, and with `entry` the image's own program, which is started at
 * boot (docs/formats/guest-agent.md).
 */
export function addGuestFiles(
  tree: ImageTree,
  spool: ContentSpool,
  config: ImageConfig,
  { entry }: { readonly entry: boolean },
): void {
  const argv = entry ? [...config.entrypoint, ...config.cmd] : []
  if (entry && argv.length === 0)
    throw new VarveError('INVALID_ARGUMENT', 'the image has no entry point to start', {
      remedy: 'build it without the entry point (--entry)',
    })
  const content = encodeFields([
    ...argv.map((it): Field => [tag.arg, it]),
    ...config.env.map((it): Field => [tag.env, it]),
    ...(config.workingDir === '' ? [] : [[tag.cwd, config.workingDir] as Field]),
    ...(config.user === '' ? [] : [[tag.user, config.user] as Field]),
  ])
  if (Math.max(argv.length, config.env.length) > maxWords)
    throw new VarveError(
      'FORMAT_INVALID',
      `the image has ${config.env.length} variables and ${argv.length} arguments; the agent takes ${maxWords} of each`,
    )
  if (content.length > maxBytes)
    throw new VarveError('FORMAT_INVALID', `the image’s environment and command have ${content.length} bytes`)
  tree.nextLayer()
  const { name, dataBytes } = spool.addBytes(content)
  tree.put('etc/varve/image', {
    ...{ kind: 'file', content: name, sizeBytes: content.length, dataBytes },
    ...{ mode: 0o644, uid: 0, gid: 0, mtime: 0, xattrs: new Map() },
  })
}
