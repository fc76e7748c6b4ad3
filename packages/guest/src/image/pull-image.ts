import { join } from 'node:path'
import { runTool } from '../tools/run-tool.js'
import { hostArchitecture } from './image-config.js'
import { folderFiles } from './image-files.js'
import { openOciLayout } from './oci-layout.js'
import type { OpenedImage, OpenImageOptions } from './opened-image.js'

/** A large image over a slow line. */
const pullTimeoutMs = 60 * 60_000

const tag = 'pulled'

/** Registries on this host have no certificates, and Docker too takes them without. */
const isLocal = (reference: string) => /^(?:localhost|127(?:\.\d{1,3}){3})(?::\d+)?\//.test(reference)

/**
 * Fetches an image from a registry by skopeo, with the credentials that `skopeo login` or `docker login`
 * left.
 */
export async function pullImage(
  reference: string,
  { work, signal, onProgress }: Pick<OpenImageOptions, 'work' | 'signal' | 'onProgress'>,
): Promise<OpenedImage> {
  onProgress?.(`fetching ${reference}`)
  const directory = join(work, 'pulled')
  await runTool(
    'skopeo',
    [
      ...['--override-os', 'linux', '--override-arch', hostArchitecture(), 'copy', '--quiet'],
      ...(isLocal(reference) ? ['--src-tls-verify=false'] : []),
      `docker://${reference}`,
      `oci:${directory}:${tag}`,
    ],
    { signal, timeoutMs: pullTimeoutMs, package: 'skopeo' },
  )
  return openOciLayout(folderFiles(directory), tag)
}
