import { randomBytes } from 'node:crypto'
import { chownSync, constants, copyFileSync, linkSync, renameSync, rmSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { VarveError } from '../errors.js'
import { copyWithHoles } from '../sys/copy-with-holes.js'

/**
 * How Firecracker sees the host's files. Without a jailer every path is the host's own. In a jail, inputs are linked
 * (or copied, where the jail's user does not own them) under its root, and outputs are moved out of it.
 */
export interface VmmFiles {
  /** Path, as Firecracker must be told it, of an existing host file. */
  input(hostPath: string): string
  /** Where Firecracker writes a new file; `commit` moves it to `hostPath`, `discard` drops it. */
  output(hostPath: string): { readonly vmmPath: string; commit(): void; discard(): void }
  /** A file name in Firecracker's working directory: as the host and as Firecracker name it. */
  local(name: string): { readonly hostPath: string; readonly vmmPath: string }
}

/** `sun_path` holds 108 bytes with the terminating zero (unix(7)). */
export const maxSocketPathBytes = 107

export function assertSocketPath(path: string): string {
  const bytes = Buffer.byteLength(path)
  if (bytes > maxSocketPathBytes)
    throw new VarveError(
      'PATH_INVALID',
      `socket path ${path} has ${bytes} bytes, more than ${maxSocketPathBytes}`,
      {
        remedy: 'set $VARVE_RUNTIME_DIR to a shorter directory',
      },
    )
  return path
}

export function hostFiles(workingDirectory: string): VmmFiles {
  return {
    input: (hostPath) => resolve(hostPath),
    output: (hostPath) => {
      const vmmPath = resolve(hostPath)
      return { vmmPath, commit: () => {}, discard: () => rmSync(vmmPath, { force: true }) }
    },
    local: (name) => ({ hostPath: join(workingDirectory, name), vmmPath: name }),
  }
}

export function jailFiles(root: string, owner: { readonly uid: number; readonly gid: number }): VmmFiles {
  const inJail = (name: string) => ({ hostPath: join(root, name), vmmPath: `/${name}` })
  return {
    input: (hostPath) => {
      const place = inJail(`in-${fresh()}`)
      const source = resolve(hostPath)
      if (statSync(source).uid === owner.uid && tryLink(source, place.hostPath)) return place.vmmPath
      copyFileSync(source, place.hostPath, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL)
      chownSync(place.hostPath, owner.uid, owner.gid)
      return place.vmmPath
    },
    output: (hostPath) => {
      const place = inJail(`out-${fresh()}`)
      return {
        vmmPath: place.vmmPath,
        commit: () => move(place.hostPath, resolve(hostPath)),
        discard: () => rmSync(place.hostPath, { force: true }),
      }
    },
    local: inJail,
  }
}

/** Not counted: another process may have given names in this jail before. */
const fresh = () => randomBytes(6).toString('hex')

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to)
    return true
  } catch (error) {
    if (['EXDEV', 'EPERM', 'EMLINK'].includes((error as NodeJS.ErrnoException).code ?? '')) return false
    throw error
  }
}

/** Out of the jail, and into the hands of whoever runs this. */
function move(from: string, to: string): void {
  try {
    renameSync(from, to)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EXDEV')
      throw new VarveError('PATH_INVALID', `cannot move ${from} to ${to}: ${(error as Error).message}`, {
        cause: error,
      })
    copyWithHoles(from, to)
    rmSync(from)
  }
  chownSync(to, process.getuid?.() ?? 0, process.getgid?.() ?? 0)
}
