import { randomBytes } from 'node:crypto'
import { mkdirSync, renameSync, rmSync } from 'node:fs'
import { type FileHandle, rm, stat, unlink } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { VarveError } from '../errors.js'
import type { FullVmConfiguration } from '../firecracker/api-types.js'
import { assertResourceId } from '../firecracker/resource-id.js'
import type { Placement, VmmFiles } from '../firecracker/vmm-files.js'
import { notFound, pathError } from '../not-found.js'
import { type CopyResult, copyWithHoles } from '../sys/copy-with-holes.js'
import type { Holder } from '../sys/holder.js'
import { lifeOfHolder, writeHolder } from '../sys/holder-file.js'
import { fileIdentity, openFileIdentities } from '../sys/proc.js'
import type { DiskSpec, MachineSpec } from './machine-spec.js'

/** One disk (or pmem device) of a machine that is backed by a host file. */
export interface AttachedDisk {
  /** Drive id. */
  readonly drive: string
  /** As Firecracker has it: a name in its working directory, or an absolute path. Snapshots contain it. */
  readonly file: string
  /** The host file, without links; null if the file that Firecracker has open is no longer at that path. */
  readonly hostPath: string | null
  /** Whether the guest cannot write to it. */
  readonly readOnly: boolean
  /** Device and inode of the file that Firecracker has open, to compare with the file at that path later. */
  readonly identity: string | null
  /** Size of the file; 0 if it is gone, and of a block device. */
  readonly sizeBytes: number
}

/** Where one disk of a snapshot comes from when it is loaded. */
export interface DiskSource {
  /** As in the snapshot; must be a name in the VMM's working directory. */
  readonly file: string
  /** The host file that it comes from. */
  readonly source: string
  /**
   * `copy`: a private copy, which goes with the machine. `link`: the source itself, for disks that are
   * read-only (a guest that may write would write to the source; in a jail it may get a copy).
   */
  readonly mode: 'copy' | 'link'
}

export const assertDriveId = (id: string): string => assertResourceId('drive id', id)

/** The name under which Firecracker is told a drive, the same in every machine. */
export const diskFile = (drive: string): string => `disk-${assertDriveId(drive)}`

/** Names that Varve itself gives in a VMM's working directory; some of them appear later than the disks. */
const ownNames =
  /^((machine|restore|restore-pages)\.json.*|\.varve-.*|owner\.lock|steps\.lock|death\.json|held-by\.json|page-server|memory|(api|uffd|vsock)\.sock|console\.(in|log)|(firecracker|stderr)\.log)$/

/** A disk's file name from a snapshot, which could come from anywhere. */
export function assertDiskFile(file: string): string {
  const problem =
    file === '' || file === '.' || file === '..' || file.includes('\0') || Buffer.byteLength(file) > 255
      ? 'is no file name'
      : file.includes('/')
        ? 'is a path, not a name in the VMM’s working directory'
        : ownNames.test(file)
          ? 'is a name that Varve uses itself'
          : undefined
  if (problem === undefined) return file
  throw new VarveError('PATH_INVALID', `disk file ${JSON.stringify(file)} ${problem}`, {
    remedy:
      'keep this disk at the path that the snapshot names, or boot the machine by Varve and take the snapshot again: then each clone gets a disk file of its own',
  })
}

type Drive = DiskSpec & Required<Pick<DiskSpec, 'readOnly' | 'copy'>> & { readonly root: boolean }

/**
 * The drives of a spec, the root one first; two of one id, also of a pmem device, are INVALID_ARGUMENT.
 */
export function drivesOf(spec: Pick<MachineSpec, 'rootDisk' | 'disks' | 'pmem'>): readonly Drive[] {
  const drives = [
    ...(spec.rootDisk === undefined
      ? []
      : [{ id: 'rootfs', readOnly: false, copy: false, ...spec.rootDisk, root: true }]),
    ...(spec.disks ?? []).map((disk) => ({ readOnly: false, copy: false, ...disk, root: false })),
  ]
  const seen = new Set<string>()
  for (const { id } of [...drives, ...(spec.pmem ?? [])]) {
    if (seen.has(assertDriveId(id)))
      throw new VarveError('INVALID_ARGUMENT', `two drives have the id ${id}`, {
        remedy: 'the root disk is "rootfs"; give each other disk an id of its own',
      })
    seen.add(id)
  }
  return drives
}

/** Name of a machine's directory within one that others use too. */
export const privateName = (directory: string, machine: string): string =>
  join(resolve(directory), `varve-${machine}-${randomBytes(6).toString('hex')}`)

/** Files that were put somewhere, and the way back. What links lead to stays. */
export class PlacedFiles {
  readonly #paths: string[] = []
  readonly #directories: string[] = []

  add(path: string): void {
    this.#paths.push(path)
  }

  /** A directory that this process made, and removes with its content. */
  addDirectory(path: string): void {
    this.#directories.push(path)
  }

  async remove(): Promise<void> {
    // Only the name: a jailed VMM could have put a directory there, and exchange its content while it is
    // removed.
    for (const path of this.#paths.splice(0)) await unlink(path).catch(() => {})
    for (const path of this.#directories.splice(0)) await rm(path, { recursive: true, force: true })
  }
}

/**
 * Puts disks under their names; private copies go into the new directory `copies`, if it is not null. What it
 * puts is added to `placed` as it goes.
 */
export async function placeDisks(
  files: VmmFiles,
  disks: readonly DiskSource[],
  placed: PlacedFiles,
  {
    copies,
    holder,
    signal,
  }: {
    readonly copies: string | null
    /** The process that `copies` belongs to. */
    readonly holder: Holder
    readonly signal: AbortSignal | undefined
  },
): Promise<void> {
  for (const { file } of disks) assertDiskFile(file)
  if (copies !== null) {
    makeHeldDirectory(copies, holder)
    placed.addDirectory(copies)
  }
  const place = async (file: string, source: string, how: Placement) => {
    await files.place(file, source, how, { signal })
    placed.add(files.local(file).hostPath)
  }
  for (const { file, source, mode } of disks)
    if (mode === 'link') await place(file, source, 'read-only')
    else if (copies === null) await place(file, source, 'copy')
    else {
      await copyWithHoles(source, join(copies, file), { signal })
      await place(file, join(copies, file), 'shared')
    }
}

/** gc removes every draft that it meets; its maker then makes another. This many tries. */
const attempts = 5

/**
 * Makes a private directory that names its holder before it has its own name, so that gc never takes it for
 * left over.
 */
function makeHeldDirectory(directory: string, holder: Holder): void {
  for (let attempt = 1; ; attempt++) {
    const draft = `${directory}.tmp-${randomBytes(6).toString('hex')}`
    try {
      mkdirSync(draft, { mode: 0o700 })
      writeHolder(draft, holder)
      renameSync(draft, directory)
      // gc may have begun to remove it under its old name.
      if (lifeOfHolder(directory) === 'unknown') writeHolder(directory, holder)
      return
    } catch (cause) {
      rmSync(draft, { recursive: true, force: true })
      if ((cause as NodeJS.ErrnoException).code === 'ENOENT' && attempt < attempts) continue
      const why = (cause as Error).message
      throw new VarveError('PATH_INVALID', `cannot keep disks in ${dirname(directory)}: ${why}`, { cause })
    }
  }
}

/**
 * The disks in `GET /vm/config`, by drive id: after a load Firecracker lists them in any order. vhost-user
 * drives have no file and are left out (Firecracker does not snapshot them). A VMM that was taken over can
 * answer anything: ids, which become parts of file names, are checked (INVALID_ARGUMENT).
 */
export async function disksOf(
  config: FullVmConfiguration,
  files: VmmFiles,
  pid: number,
): Promise<AttachedDisk[]> {
  const open = openFileIdentities(pid)
  const listed = [
    ...(config.drives ?? []).map((it) => ({
      drive: it.drive_id,
      file: it.path_on_host,
      ro: it.is_read_only,
    })),
    ...(config.pmem ?? []).map((it) => ({ drive: it.id, file: it.path_on_host, ro: it.read_only })),
  ]
  const disks: AttachedDisk[] = []
  for (const { drive, file, ro } of listed) {
    if (typeof file !== 'string') continue
    assertDriveId(drive)
    const found = await files.locate(file)
    const now = found === undefined ? undefined : await stat(found, { bigint: true })
    const current = now !== undefined && open.has(fileIdentity(now))
    disks.push({
      drive,
      file,
      hostPath: current ? (found as string) : null,
      identity: current ? fileIdentity(now) : null,
      readOnly: ro === true,
      sizeBytes: current ? Number(now.size) : 0,
    })
  }
  return disks.sort((a, b) => (a.drive < b.drive ? -1 : 1))
}

/**
 * Copies a disk that is not written to meanwhile (its machine is paused, and the snapshot is written:
 * Firecracker then has finished its requests) into a new file (0600), as `copyWithHoles` does. Not synced.
 * Block devices are refused: what is on them cannot be copied as a file with holes. `source` is the disk,
 * `target` the new file.
 */
export async function copyDisk(
  source: string,
  target: string,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<CopyResult> {
  const found = await stat(source).catch(() => undefined)
  if (found?.isBlockDevice()) throw blockDevice(source)
  return copyWithHoles(source, target, options)
}

/**
 * The same for a disk of a machine. Copies only the file that Firecracker had open when `disks` was asked: a
 * jailed VMM may put another file in its place. NOT_FOUND if the file is no longer there.
 */
export async function copyAttachedDisk(
  files: VmmFiles,
  disk: AttachedDisk,
  target: string,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<CopyResult> {
  const path = disk.hostPath ?? disk.file
  return copyWithHoles({ path, open: () => openAttached(files, disk) }, target, options)
}

/** A disk's file, opened for reading. */
export async function openAttached(files: VmmFiles, disk: AttachedDisk): Promise<FileHandle> {
  const { drive, file, hostPath, identity } = disk
  const gone = (cause?: unknown) =>
    notFound('file', `the file of drive ${drive}, ${file}, is no longer where it was opened`, {
      remedy: 'put it back, or detach the drive',
      ...(cause === undefined ? {} : { cause }),
    })
  if (hostPath === null) throw gone()
  const handle = await files.open(file).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') throw gone(error)
    const reason = error.code === 'ELOOP' ? 'it is a symbolic link, or behind one' : error.message
    throw pathError(error, `cannot open ${hostPath}: ${reason}`, { details: { path: hostPath } })
  })
  try {
    const stat = await handle.stat({ bigint: true })
    if (stat.isBlockDevice()) throw blockDevice(hostPath)
    if (fileIdentity(stat) !== identity) throw gone()
    return handle
  } catch (error) {
    await handle.close()
    throw error
  }
}

function blockDevice(path: string): VarveError {
  return new VarveError('PATH_INVALID', `${path} is a block device; only disk files can be copied`, {
    remedy: 'keep the disk in a file, or attach the device read-only',
  })
}
