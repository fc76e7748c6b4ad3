import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { throwIfAborted, VarveError } from 'varve'
import { hashFile } from 'varve/testing'
import { agentProgram } from './agent/agent-program.js'
import { GuestCatalogue } from './catalogue/guest-catalogue.js'
import type { GuestManifest, GuestRootDisk } from './catalogue/guest-manifest.js'
import { assertGuestName } from './catalogue/guest-paths.js'
import { type AgentService, addAgentService, agentService } from './disk/agent-service.js'
import { ext4Version, writeExt4 } from './disk/ext4-disk.js'
import { addGuestFiles } from './disk/guest-files.js'
import { type OpenedGuest, withFiles } from './guests.js'
import { defaultImageLimits } from './image/image-limits.js'
import { parseImageSource } from './image/image-source.js'
import { openImage } from './image/open-image.js'
import type { OpenedImage } from './image/opened-image.js'
import { unpackImage } from './image/unpack-image.js'
import { guestBootArgs, makeBootFiles } from './kernel/boot-files.js'

/** Changes of what is made of the same image count this up. */
const rootDiskVersion = 1

export interface BuildGuestOptions {
  /** 1–32 of a–z, 0–9 and '-'. A guest of that name is replaced; machines that run go on. */
  readonly name: string
  /** A kernel file in place of Debian's: ELF or bzImage, with virtio, vsock and ext4 built in. */
  readonly kernel?: string | undefined
  /**
   * Of the root disk. Default: what the image takes, and 1 GiB. Blocks that are never written take no room.
   */
  readonly sizeBytes?: number | undefined
  /** Start the image's own entry point when the guest boots. Default: only the agent. */
  readonly entry?: boolean | undefined
  /**
   * What the guest's process 1 is: the agent, or the image's own init, systemd or OpenRC, which then starts
   * the agent as a service. Default: the agent.
   */
  readonly init?: 'agent' | 'image' | undefined
  /** Where guests are kept. Default: $VARVE_GUESTS, else in the user's data directory. */
  readonly directory?: string | undefined
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((message: string) => void) | undefined
}

export interface BuiltGuest {
  readonly guest: OpenedGuest
  /** The root disk was there from an earlier build of the same layers. */
  readonly cached: boolean
  readonly elapsedMs: number
}

/** Of tries in which another process removed what an earlier build had made. */
const attempts = 3

/**
 * Makes a guest of an image (docs/formats/guest-image.md names the forms) and keeps it under a name. Errors:
 * INVALID_ARGUMENT, NOT_FOUND, HOST_UNSUPPORTED (a tool is missing), FORMAT_INVALID, FORMAT_UNSUPPORTED,
 * CHECKSUM_MISMATCH, PATH_INVALID, WRITE_FAILED, INTERRUPTED. If it fails, nothing of it is left.
 */
export async function buildGuest(image: string, options: BuildGuestOptions): Promise<BuiltGuest> {
  const { name, signal, directory, init = 'agent' } = options
  const begin = performance.now()
  assertGuestName(name)
  if (init === 'image' && options.entry)
    throw new VarveError('INVALID_ARGUMENT', 'only the agent as init can start the image’s entry point', {
      remedy: 'build it without --entry, or without --init image',
    })
  const source = parseImageSource(image)
  const catalogue = await GuestCatalogue.open({ directory })
  const service = init === 'image' ? await agentService() : null
  for (let attempt = 1; ; attempt++) {
    throwIfAborted(signal, 'the build of a guest')
    await using folder = await catalogue.startBuild(signal)
    const work = folder.directory
    const limits = {
      ...defaultImageLimits,
      maxBytes: Math.max(defaultImageLimits.maxBytes, options.sizeBytes ?? 0),
    }
    const opened = await openImage(source, { work, limits, ...progress(options) })
    const key = await buildKey(opened, service, options)
    const known = catalogue.builtBefore(key)
    const rootDisk = known ?? (await makeRootDisk(opened, service, { ...options, work, limits }))
    const boot = await makeBootFiles({
      work,
      kernel: options.kernel,
      agent: service === null ? await agentProgram() : null,
      ...progress(options),
    })
    const manifest: GuestManifest = {
      createdAt: new Date().toISOString(),
      source: { reference: image, digest: opened.digest },
      rootDisk,
      kernel: boot.kernel,
      initrd: boot.initrd,
      bootArgs: guestBootArgs,
      config: opened.config,
    }
    const made = known === undefined ? [{ path: join(work, rootDiskName), digest: rootDisk.digest }] : []
    const parts = [...boot.parts, ...made]
    if (await catalogue.publish(name, manifest, { parts, key, signal }))
      return {
        guest: withFiles(catalogue, { name, ...manifest }),
        cached: known !== undefined,
        elapsedMs: Math.round(performance.now() - begin),
      }
    if (attempt === attempts)
      throw new Error(`${catalogue.paths.directory} loses blobs while a guest is built`)
  }
}

const progress = ({ signal, onProgress }: BuildGuestOptions) => ({ signal, onProgress })

const rootDiskName = 'root.ext4'

async function makeRootDisk(
  opened: OpenedImage,
  service: AgentService | null,
  options: BuildGuestOptions & { readonly work: string; readonly limits: typeof defaultImageLimits },
): Promise<GuestRootDisk> {
  const { work, signal, sizeBytes, onProgress, entry = false } = options
  const { tree, spool } = await unpackImage(opened, options)
  addGuestFiles(tree, spool, opened.config, { entry })
  if (service !== null) addAgentService(tree, spool, service)
  onProgress?.('writing the root disk')
  const path = join(work, rootDiskName)
  const { dataBytes, inodes } = await writeExt4(tree, spool, path, { sizeBytes, signal })
  const { digest, size } = await hashFile(path, { signal })
  return { digest, sizeBytes: size, dataBytes, inodes }
}

/** What the bytes of a root disk depend on. */
async function buildKey(
  { layers, config }: OpenedImage,
  service: AgentService | null,
  { sizeBytes, entry = false, signal }: BuildGuestOptions,
): Promise<string> {
  const inputs = {
    rootDiskVersion,
    e2fsprogs: await ext4Version(signal),
    sizeBytes: sizeBytes ?? null,
    layers: layers.map(({ diffId }) => diffId),
    config,
    entry,
    // Left out of JSON where it is undefined.
    service: service?.digest,
  }
  return createHash('sha256').update(JSON.stringify(inputs)).digest('hex')
}
