import { type BigIntStats, readFileSync } from 'node:fs'
import { VarveError } from '../errors.js'

/** One line of /proc/PID/maps (proc_pid_maps(5)). */
export interface Mapping {
  /** Addresses in bytes: `start` is the first, `end` one behind the last. */
  readonly start: number
  readonly end: number
  readonly private: boolean
  readonly writable: boolean
  /** Of the first byte in the file. */
  readonly offsetBytes: number
  readonly device: { readonly major: number; readonly minor: number }
  /** "0" for memory without a file. */
  readonly inode: string
  /** As the kernel shows it to this process: another one if the process is in a jail. */
  readonly path: string
}

/** The memory mappings of a process by address; none if it has ended. HOST_UNSUPPORTED if they are hidden. */
export function mappingsOf(pid: number): Mapping[] {
  const path = `/proc/${pid}/maps`
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH') return []
    throw new VarveError('HOST_UNSUPPORTED', `cannot read ${path}: ${message}`, {
      remedy: 'be the user that the process runs as, or root',
      cause: error,
    })
  }
  return text.split('\n').filter(Boolean).map(parse)
}

const line =
  /^([0-9a-f]+)-([0-9a-f]+) [-r]([-w])[-x]([-ps]) ([0-9a-f]+) ([0-9a-f]+):([0-9a-f]+) (\d+)(?: +(.*))?$/

function parse(text: string): Mapping {
  const parts = line.exec(text)
  if (parts === null) throw new VarveError('HOST_UNSUPPORTED', `/proc says of a mapping: ${text}`)
  const hex = (index: number) => Number.parseInt(parts[index] as string, 16)
  return {
    start: hex(1),
    end: hex(2),
    private: parts[4] === 'p',
    writable: parts[3] === 'w',
    offsetBytes: hex(5),
    device: { major: hex(6), minor: hex(7) },
    inode: parts[8] as string,
    path: parts[9] ?? '',
  }
}

/**
 * Whether a mapping is of the file that `stat` and `path` name. Device and inode tell, but on Btrfs and
 * overlayfs the device of stat(2) is another than that in /proc/PID/maps; there inode and name must agree.
 */
export function isMappingOf(
  mapping: Mapping,
  path: string,
  { dev, ino }: Pick<BigIntStats, 'dev' | 'ino'>,
): boolean {
  if (mapping.inode !== String(ino)) return false
  // makedev(3) of glibc and musl: 32 bits each, interleaved.
  const major = Number(((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xfffff000n))
  const minor = Number((dev & 0xffn) | ((dev >> 12n) & 0xffffff00n))
  return (mapping.device.major === major && mapping.device.minor === minor) || mapping.path === path
}
