import { join } from 'node:path'
import { hashFile } from 'varve/testing'
import { runTool } from '../tools/run-tool.js'
import { emptyConfig, type ImageConfig } from './image-config.js'
import type { ImageSource } from './image-source.js'
import type { OpenedImage, OpenImageOptions } from './opened-image.js'

/** A hundred packages over a slow line. */
const installTimeoutMs = 60 * 60_000

const config: ImageConfig = {
  ...emptyConfig,
  env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
  cmd: ['/bin/bash'],
}

const secondsOfDay = 24 * 60 * 60

/**
 * What mmdebstrap takes for the time of installation, seconds since 1970: equal packages give equal files on
 * one day. An earlier time would make the compiled files of Python older than their sources.
 */
function installationTime(env: NodeJS.ProcessEnv = process.env): string {
  return env.SOURCE_DATE_EPOCH ?? String(Math.floor(Date.now() / 1000 / secondsOfDay) * secondsOfDay)
}

/** A minimal Debian, made by mmdebstrap: as root, or by it in a namespace of the user's. */
export async function debianImage(
  { suite, packages }: ImageSource & { readonly kind: 'debian' },
  { work, signal, onProgress }: Pick<OpenImageOptions, 'work' | 'signal' | 'onProgress'>,
): Promise<OpenedImage> {
  onProgress?.(`installing Debian ${[suite, ...packages].join(' ')}`)
  const path = join(work, 'debian.tar')
  const include = packages.length === 0 ? [] : [`--include=${packages.join(',')}`]
  await runTool('mmdebstrap', ['--quiet', '--variant=minbase', '--format=tar', ...include, suite, path], {
    signal,
    timeoutMs: installTimeoutMs,
    package: 'mmdebstrap',
    env: { ...process.env, LC_ALL: 'C', SOURCE_DATE_EPOCH: installationTime() },
    // It has mounts to take away.
    endBy: 'SIGTERM',
  })
  const { digest } = await hashFile(path, { signal })
  return { digest, config, layers: [{ name: suite, path, digest: null, diffId: digest }] }
}
