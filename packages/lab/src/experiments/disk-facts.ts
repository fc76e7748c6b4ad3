import { readFileSync, realpathSync, statSync } from 'node:fs'

/** The properties of a directory's disk that decide how fast it reads files that are not in memory. */
export interface DiskFacts {
  /** "ext4", "tmpfs". */
  readonly fileSystem: string
  /** "254:0 /dev/vda"; "none" for a file system that is on no device of its own. */
  readonly device: string
  /** "yes", "no", or "unknown" if the kernel does not tell. */
  readonly rotational: string
  /** How much the kernel reads around a missing page at a time, at most; "unknown" likewise. */
  readonly readAheadKib: string
}

export function diskFacts(directory: string, mounts = read('/proc/self/mountinfo') ?? ''): DiskFacts {
  const mount = mountOf(realpathSync(directory), mounts)
  if (mount === undefined)
    return { fileSystem: 'unknown', device: 'unknown', rotational: 'unknown', readAheadKib: 'unknown' }
  const { number, fileSystem, source } = mount
  // Btrfs and others give a number of their own; the device is the one that the mount names.
  const block = source.startsWith('/dev/') ? deviceNumber(source) : undefined
  const queue = (name: string) =>
    [block, number]
      .filter((it) => it !== undefined)
      // A partition has the queue of its disk.
      .flatMap((it) => [`/sys/dev/block/${it}/queue/${name}`, `/sys/dev/block/${it}/../queue/${name}`])
  const rotational = firstOf(queue('rotational'))
  return {
    fileSystem,
    device: block === undefined ? 'none' : `${block} ${source}`,
    rotational: rotational === undefined ? 'unknown' : rotational === '1' ? 'yes' : 'no',
    readAheadKib: firstOf([`/sys/class/bdi/${number}/read_ahead_kb`, ...queue('read_ahead_kb')]) ?? 'unknown',
  }
}

interface Mount {
  /** Major and minor. */
  readonly number: string
  readonly fileSystem: string
  readonly source: string
}

/**
 * The mount with the longest path above the file; of several on one path, the last one hides the others
 * (proc_pid_mountinfo(5)).
 */
function mountOf(path: string, mounts: string): Mount | undefined {
  let found: (Mount & { readonly at: string }) | undefined
  for (const line of mounts.split('\n')) {
    const [before = '', after = ''] = line.split(' - ')
    const [, , number, , point] = before.split(' ')
    const [fileSystem, source] = after.split(' ')
    if (number === undefined || point === undefined || fileSystem === undefined || source === undefined)
      continue
    // Spaces and the like are octal: \040.
    const at = point.replace(/\\([0-7]{3})/g, (_, octal: string) =>
      String.fromCharCode(Number.parseInt(octal, 8)),
    )
    const above = at === '/' || path === at || path.startsWith(`${at}/`)
    if (above && at.length >= (found?.at.length ?? 0)) found = { at, number, fileSystem, source }
  }
  return found
}

function deviceNumber(path: string): string | undefined {
  const rdev = statSync(path, { throwIfNoEntry: false })?.rdev
  if (rdev === undefined || rdev === 0) return undefined
  // As in <sys/sysmacros.h>: 12 bits of major and 20 of minor number, the low 8 bits of the minor one first.
  return `${(rdev >>> 8) & 0xfff}:${(rdev & 0xff) | ((rdev >>> 12) & 0xfff00)}`
}

function firstOf(paths: readonly string[]): string | undefined {
  for (const path of paths) {
    const text = read(path)?.trim()
    if (text !== undefined) return text
  }
  return undefined
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return undefined
  }
}
