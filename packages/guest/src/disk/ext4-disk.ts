import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { promisify } from 'node:util'
import { VarveError } from 'varve'
import type { ContentSpool } from '../image/content-spool.js'
import type { ImageTree } from '../image/image-tree.js'
import { runTool, type ToolOptions } from '../tools/run-tool.js'
import { debugfsScript } from './debugfs-script.js'

const mib = 1024 * 1024
const blockBytes = 4096
const inodeBytes = 256
const defaultRoomBytes = 1024 * mib

/** Those that an ext4 has of its own, and some. */
const spareInodes = 128

/** Seconds since 1970: what e2fsprogs takes for the present. 0 means "not set" to it. */
const imageTime = 1
const imageIds = {
  uuid: '76617276-6500-4000-8000-000000000001',
  hashSeed: '76617276-6500-4000-8000-000000000002',
} as const
/**
 * Each by its name, on none: hosts' defaults differ. No journal: a disk belongs to one machine and goes with
 * it, and a snapshot has memory and disk of one moment.
 */
const features =
  'none,sparse_super,large_file,huge_file,filetype,dir_index,dir_nlink,ext_attr,extra_isize,extent,flex_bg,64bit,metadata_csum,resize_inode'

export interface Ext4Options {
  /** Of the disk. Default: what the files take, and `roomBytes`. */
  readonly sizeBytes?: number | undefined
  /** What a guest may write before its disk is full: blocks that are holes. Default: 1 GiB. */
  readonly roomBytes?: number | undefined
  readonly signal?: AbortSignal | undefined
}

export interface Ext4Disk {
  readonly sizeBytes: number
  /**
   * Bytes of the files, without holes; equal contents under several names count once each, hard links once.
   */
  readonly dataBytes: number
  readonly inodes: number
}

/**
 * Writes the files of an image into a new ext4 file system, without mounting it and without privilege:
 * `mke2fs` makes an empty one, `debugfs` the entries. (`mke2fs -d` takes a folder, in which only root could
 * have the owners and devices, and a tar archive from 1.47.1 on only.) Equal trees and sizes give equal
 * bytes.
 */
export async function writeExt4(
  tree: ImageTree,
  spool: ContentSpool,
  target: string,
  options: Ext4Options = {},
): Promise<Ext4Disk> {
  const { signal, roomBytes = defaultRoomBytes } = options
  const script = debugfsScript(tree, spool)
  const { inodes, dataBytes, blocks } = script
  // Extent trees, bitmaps, descriptors and the growth of directories stay within a sixteenth of it.
  const neededBytes =
    Math.ceil((blocks * blockBytes + (inodes + spareInodes) * inodeBytes) * 1.0625) + 8 * mib
  const sizeBytes = Math.ceil((options.sizeBytes ?? neededBytes + roomBytes) / mib) * mib
  if (sizeBytes < neededBytes)
    throw new VarveError('INVALID_ARGUMENT', `a disk of ${sizeBytes} bytes does not hold the image’s files`, {
      remedy: `give it ${Math.ceil(neededBytes / mib)} MiB or more`,
    })
  // For what is written later as many as mke2fs makes: one in 16 KiB.
  const inodeCount = inodes + spareInodes + Math.floor((sizeBytes - neededBytes) / 16_384)
  // Before mke2fs makes it for everyone to read.
  writeFileSync(target, '', { flag: 'wx', mode: 0o600 })
  const extended = `root_owner=0:0,lazy_itable_init=1,hash_seed=${imageIds.hashSeed}`
  await e2fsTool(
    'mke2fs',
    [
      ...['-q', '-F', '-t', 'ext4', '-O', features, '-b', `${blockBytes}`, '-I', `${inodeBytes}`, '-m', '0'],
      ...['-N', `${inodeCount}`, '-U', imageIds.uuid, '-E', extended, target, `${sizeBytes / mib}M`],
    ],
    { signal },
  )
  // debugfs says on standard error what failed, and ends with 0 all the same.
  await e2fsTool('debugfs', ['-w', '-f', '-', target], {
    signal,
    cwd: spool.folder,
    input: script.commands,
    harmlessWords: /^debugfs \d[^\n]*\n/,
  })
  return { sizeBytes, dataBytes, inodes }
}

/** The version line of e2fsprogs: another one may lay out files otherwise. */
export async function ext4Version(signal?: AbortSignal): Promise<string> {
  // On standard error; on standard output there is nothing.
  const { stderr } = await promisify(execFile)('mke2fs', ['-V'], { env: toolEnvironment(), signal }).catch(
    (cause: Error) => {
      throw new VarveError('HOST_UNSUPPORTED', `mke2fs cannot be run: ${cause.message}`, {
        cause,
        remedy: 'apt-get install e2fsprogs',
      })
    },
  )
  return /^mke2fs (\d\S*)/.exec(stderr)?.[1] ?? stderr.trim()
}

const e2fsTool = (name: string, args: readonly string[], options: ToolOptions) =>
  runTool(name, args, { ...options, package: 'e2fsprogs', env: toolEnvironment() })

const toolEnvironment = (): NodeJS.ProcessEnv => ({
  // They live in sbin, which is not on everybody's PATH.
  PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`,
  LC_ALL: 'C',
  TZ: 'UTC',
  // The host's defaults do not count.
  MKE2FS_CONFIG: '/dev/null',
  E2FSPROGS_FAKE_TIME: String(imageTime),
})
