import { lstatSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { runTool } from '@varve/guest/testing'
import { VarveError } from 'varve'

const mib = 1024 * 1024
/**
 * Inodes, directory blocks, group descriptors: an ext4 without journal needs less
 * than a tenth in addition to its files.
 */
const overheadFactor = 1.15
const slackMib = 8

/**
 * Seconds since 1970: what e2fsprogs takes for the present, and when all files are
 * from. 0 means "not set" to it.
 */
const imageTime = 1
const imageIds = {
  uuid: '76617276-6500-4000-8000-000000000001',
  hashSeed: '76617276-6500-4000-8000-000000000002',
} as const

/**
 * Makes an ext4 image that holds a folder's files, without mounting and without privilege (`mke2fs -d`). No
 * journal: these images are read-only or thrown away. All belongs to root. Equal files give equal bytes:
 * mke2fs copies times and owners from the folder, and debugfs then sets them.
 */
export async function ext4Image(
  folder: string,
  image: string,
  options: { readonly sizeMib?: number; readonly signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const { signal } = options
  const entries = readdirSync(folder, { recursive: true, encoding: 'utf8' }).sort()
  const sizeMib = options.sizeMib ?? Math.ceil((bytesOf(folder, entries) * overheadFactor) / mib) + slackMib
  await makeExt4(['-U', imageIds.uuid, '-d', folder, image, `${sizeMib}M`], signal)
  await e2fsTool('debugfs', ['-w', '-f', '-', image], signal, neutralInodes(entries))
}

/** Makes an empty, sparse ext4 image. */
export async function emptyExt4Image(image: string, sizeMib: number, signal?: AbortSignal): Promise<void> {
  await makeExt4([image, `${sizeMib}M`], signal)
}

async function makeExt4(rest: readonly string[], signal?: AbortSignal): Promise<void> {
  // A second -E would replace the first.
  const extended = `root_owner=0:0,lazy_itable_init=1,hash_seed=${imageIds.hashSeed}`
  const features = ['-O', '^has_journal', '-m', '0', '-b', '4096', '-E', extended]
  await e2fsTool('mke2fs', ['-q', '-F', '-t', 'ext4', ...features, ...rest], signal)
}

async function e2fsTool(
  name: string,
  args: readonly string[],
  signal?: AbortSignal,
  input?: string,
): Promise<void> {
  await runTool(name, args, {
    // They live in sbin, which is not on everybody's PATH.
    env: {
      ...process.env,
      PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`,
      E2FSPROGS_FAKE_TIME: String(imageTime),
    },
    input: input === undefined ? undefined : Buffer.from(input),
    signal,
  })
}

/** Commands for debugfs, which knows quotes but no escapes. */
function neutralInodes(entries: readonly string[]): string {
  const odd = entries.find((it) => /["\n]/.test(it))
  if (odd !== undefined)
    throw new VarveError('INVALID_ARGUMENT', `the file name ${JSON.stringify(odd)} cannot go into an image`)
  const fields = [...['atime', 'ctime', 'mtime'].map((it) => `${it} @${imageTime}`), 'uid 0', 'gid 0']
  return ['', ...entries].flatMap((path) => fields.map((field) => `sif "/${path}" ${field}\n`)).join('')
}

function bytesOf(folder: string, entries: readonly string[]): number {
  let bytes = 0
  for (const name of entries) {
    const info = lstatSync(join(folder, name))
    bytes += Math.ceil((info.isFile() ? info.size : 0) / 4096 + 1) * 4096
  }
  return bytes
}
