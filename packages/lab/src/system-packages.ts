import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { type AptOptions, isFetched, isInstallable, runTool } from '@varve/guest/testing'
import { VarveError } from 'varve'
import { pythonKind } from './linux/python.js'

/** A package that must be installed, and the command whose presence shows that it is. */
interface SystemPackage {
  readonly name: string
  readonly command: string
}

/**
 * What the nested lab needs installed on Debian and Ubuntu. The kernel, busybox and Python are not
 * among them: they are only unpacked into the cache (`unpackedPackages` of @varve/guest). xz and zstd unpack
 * the kernels of other releases.
 */
export const systemPackages: readonly SystemPackage[] = [
  { name: 'qemu-system-x86', command: 'qemu-system-x86_64' },
  { name: 'e2fsprogs', command: 'mke2fs' },
  { name: 'lz4', command: 'lz4' },
  { name: 'xz-utils', command: 'xz' },
  { name: 'zstd', command: 'zstd' },
]

/** An installation over a slow line. */
const installTimeoutMs = 15 * 60_000

/** Packages whose commands are neither on PATH nor in the folders for system programs. */
export function missingSystemPackages(env: NodeJS.ProcessEnv = process.env): string[] {
  const folders = [...(env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'].filter((it) => it !== '')
  return systemPackages
    .filter(({ command }) => !folders.some((folder) => isExecutable(join(folder, command))))
    .map(({ name }) => name)
}

/**
 * Makes sure that the commands of the nested lab are installed and that the kernel can be fetched: as root by
 * apt-get, otherwise HOST_UNSUPPORTED with the command to run.
 */
export async function ensureSystemPackages(options: AptOptions = {}): Promise<void> {
  const missing = missingSystemPackages()
  const fetched = ['kernel', 'busybox', pythonKind()].every(isFetched)
  if (missing.length === 0 && fetched) return
  if (!['/usr/bin/apt-get', '/usr/bin/apt-cache', '/usr/bin/dpkg-deb'].every(isExecutable))
    throw new VarveError(
      'HOST_UNSUPPORTED',
      'the nested lab is built from Debian packages; there is no apt-get here',
      {
        remedy: 'use Debian or Ubuntu, or a container of it that is given /dev/kvm',
      },
    )
  const listsKnown =
    (await isInstallable('busybox-static', options)) && (await isInstallable('python3-numpy', options))
  if (missing.length === 0 && listsKnown) return
  const install = ['install', '--yes', '--no-install-recommends', ...missing]
  if (process.getuid?.() !== 0)
    throw new VarveError(
      'HOST_UNSUPPORTED',
      missing.length > 0 ? `the nested lab needs ${missing.join(', ')}` : 'the package lists are empty',
      {
        remedy: `run: sudo apt-get update${missing.length > 0 ? ` && sudo apt-get ${install.join(' ')}` : ''}`,
        details: { missing },
      },
    )
  await aptInstall(missing, options)
  const still = missingSystemPackages()
  if (still.length > 0)
    throw new VarveError(
      'HOST_UNSUPPORTED',
      `apt-get installed ${missing.join(', ')}, but ${still.join(', ')} is not there`,
    )
}

/** Updates the package lists and installs; as root only. No names: the lists alone. */
export async function aptInstall(names: readonly string[], options: AptOptions = {}): Promise<void> {
  const { signal, onProgress } = options
  const run = (args: readonly string[]) =>
    runTool('apt-get', ['--quiet', ...args], {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' },
      timeoutMs: installTimeoutMs,
      signal,
    })
  onProgress?.('updating package lists')
  await run(['update'])
  if (names.length === 0) return
  onProgress?.(`installing ${names.join(' ')}`)
  await run(['install', '--yes', '--no-install-recommends', ...names])
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
