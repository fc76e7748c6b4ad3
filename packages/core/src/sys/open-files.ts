import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs'
import { fileIdentity } from './proc.js'

/** A file, directory, FIFO or device that a process has open; no sockets, and no files without a name. */
interface OpenFile {
  readonly fd: number
  readonly identity: string
  /** Its path, as the kernel gives it. */
  readonly target: string
  readonly writes: boolean
  /** Set if it is one of the devices that every VMM has open. */
  readonly device: '/dev/kvm' | '/dev/net/tun' | undefined
  /** For /dev/net/tun: the tap device that it is attached to. */
  readonly tap: string | undefined
}

// Kernel's Documentation/admin-guide/devices.txt: misc devices have major 10.
const misc = 10n
const devices: Readonly<Record<string, '/dev/kvm' | '/dev/net/tun'>> = {
  232: '/dev/kvm',
  200: '/dev/net/tun',
}
// fcntl.h: O_ACCMODE.
const accessMode = 3

/** An eventfd, say. A file's name begins with a slash. */
const anonymous = /^(anon_inode|socket|pipe):/

/**
 * Reads its descriptors (proc_pid_fd(5), proc_pid_fdinfo(5)), so the answer is right also for a process in a
 * jail.
 */
export function openFiles(pid: number): readonly OpenFile[] {
  const found: OpenFile[] = []
  for (const name of readdirSync(`/proc/${pid}/fd`)) {
    const path = `/proc/${pid}/fd/${name}`
    const stat = statSync(path, { bigint: true, throwIfNoEntry: false })
    // Closed since the listing.
    if (stat === undefined) continue
    const target = readlinkSync(path)
    if (anonymous.test(target)) continue
    const info = readFileSync(`/proc/${pid}/fdinfo/${name}`, 'utf8')
    const flags = Number.parseInt(/^flags:\s*([0-7]+)$/m.exec(info)?.[1] ?? '2', 8)
    const [major, minor] = [(stat.rdev >> 8n) & 0xfffn, (stat.rdev & 0xffn) | ((stat.rdev >> 12n) & 0xfff00n)]
    found.push({
      fd: Number(name),
      identity: fileIdentity(stat),
      target,
      writes: (flags & accessMode) !== 0,
      device: stat.isCharacterDevice() && major === misc ? devices[String(minor)] : undefined,
      tap: /^iff:\s*(\S+)$/m.exec(info)?.[1],
    })
  }
  return found
}
