import { readFileSync, readlinkSync } from 'node:fs'
import { VarveError } from '../errors.js'
import { type LifeLock, lookAtLife } from './life-lock.js'
import { isAlive, type ProcessIdentity, processIdentity } from './proc.js'

/**
 * The process to which files on disk belong (a lease, copies of disks). From this record any other process
 * can tell whether that process still lives, also from another PID namespace or after a reboot.
 */
export interface Holder {
  /**
   * The boot (/proc/sys/kernel/random/boot_id) and the PID namespace (/proc/self/ns/pid) that the process is
   * named in.
   */
  readonly boot: string
  /** The PID namespace, see `boot`. */
  readonly pidNamespace: string
  /** The process. */
  readonly process: ProcessIdentity
  /** The file that the process keeps locked while it lives; null if there is none. */
  readonly lock: LifeLock | null
}

let ownBoot: string | undefined
let ownNamespace: string | undefined

export function bootId(): string {
  ownBoot ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  return ownBoot
}

export function pidNamespace(): string {
  ownNamespace ??= readlinkSync('/proc/self/ns/pid')
  return ownNamespace
}

export function ownIdentity(): ProcessIdentity {
  const identity = processIdentity(process.pid)
  if (!identity)
    throw new VarveError('HOST_UNSUPPORTED', '/proc is not mounted', { remedy: 'mount -t proc proc /proc' })
  return identity
}

/** Whether a pid of that boot and namespace names the same process here. */
export const isNamedHere = ({ boot, pidNamespace: its }: Pick<Holder, 'boot' | 'pidNamespace'>): boolean =>
  boot === bootId() && its === pidNamespace()

/**
 * False only if the holder has certainly ended. If the lock can be tested, it decides; otherwise pid and
 * start time decide, in the same PID namespace. If neither can decide, the holder counts as alive: its files
 * are kept until the next boot.
 */
export function holderLives(holder: Holder): boolean {
  if (holder.boot !== bootId()) return false
  const life = holder.lock === null ? 'unknown' : lookAtLife(holder.lock)
  if (life !== 'unknown') return life === 'held'
  return isNamedHere(holder) ? isAlive(holder.process) : true
}

/** Checks a value that was read from a file. Undefined if it is no holder. */
export function holderFromJson(value: unknown): Holder | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  const { boot, pidNamespace: its, process: identity, lock = null } = value as Partial<Holder>
  const isText = (it: unknown): it is string => typeof it === 'string' && it.length <= 4096
  if (!isText(boot) || !isText(its) || !isIdentity(identity)) return undefined
  const named = { boot, pidNamespace: its, process: { pid: identity.pid, startTime: identity.startTime } }
  if (lock === null) return { ...named, lock: null }
  const { path, device, inode } = lock
  if (!isText(path) || !path.startsWith('/') || !isText(device) || !isText(inode)) return undefined
  return { ...named, lock: { path, device, inode } }
}

const isIdentity = (it: ProcessIdentity | undefined): it is ProcessIdentity =>
  typeof it === 'object' &&
  it !== null &&
  Number.isSafeInteger(it.pid) &&
  it.pid > 0 &&
  Number.isSafeInteger(it.startTime) &&
  it.startTime >= 0
