import { lstatSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { runTool } from './run-tool.js'

const mib = 1024 * 1024
/** Inodes, directory blocks, group descriptors: an ext4 without journal needs less than a tenth beside its files. */
const overheadFactor = 1.15
const slackMib = 8

/**
 * Makes an ext4 image that holds a folder's files, without mounting and without privilege (`mke2fs -d`). No journal:
 * these images are read-only or thrown away.
 */
export async function ext4Image(
  folder: string,
  image: string,
  options: { readonly sizeMib?: number; readonly signal?: AbortSignal } = {},
): Promise<void> {
  const sizeMib = options.sizeMib ?? Math.ceil((folderBytes(folder) * overheadFactor) / mib) + slackMib
  await makeExt4(['-d', folder, image, `${sizeMib}M`], options.signal)
}

/** Makes an empty, sparse ext4 image. */
export async function emptyExt4Image(image: string, sizeMib: number, signal?: AbortSignal): Promise<void> {
  await makeExt4([image, `${sizeMib}M`], signal)
}

async function makeExt4(rest: readonly string[], signal?: AbortSignal): Promise<void> {
  const features = ['-O', '^has_journal', '-m', '0', '-b', '4096', '-E', 'root_owner=0:0,lazy_itable_init=1']
  await runTool('mke2fs', ['-q', '-F', '-t', 'ext4', ...features, ...rest], {
    // mke2fs lives in sbin, which is not on everybody's PATH.
    env: { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` },
    ...(signal === undefined ? {} : { signal }),
  })
}

function folderBytes(folder: string): number {
  let bytes = 0
  for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    const info = lstatSync(join(folder, name))
    bytes += Math.ceil((info.isFile() ? info.size : 0) / 4096 + 1) * 4096
  }
  return bytes
}
