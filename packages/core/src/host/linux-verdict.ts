import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cacheDirectory } from '../cache-directory.js'

/**
 * Whether a Linux guest gets through its boot on this host's KVM, as found by trying (the lab does), and
 * remembered until the host reboots: trying costs seconds.
 */
export interface LinuxVerdict {
  readonly linuxBoots: boolean
  /** How long the guest took to answer, or how long was waited in vain, milliseconds. */
  readonly afterMs: number
}

const verdictPath = () => join(cacheDirectory(), 'linux-guest.json')
const bootId = () => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()

export function rememberLinuxVerdict(verdict: LinuxVerdict): void {
  mkdirSync(cacheDirectory(), { recursive: true, mode: 0o700 })
  writeFileSync(verdictPath(), JSON.stringify({ boot: bootId(), ...verdict }), { mode: 0o600 })
}

export function recallLinuxVerdict(): LinuxVerdict | undefined {
  try {
    const { boot, linuxBoots, afterMs } = JSON.parse(readFileSync(verdictPath(), 'utf8')) as LinuxVerdict & {
      boot: string
    }
    if (boot !== bootId() || typeof linuxBoots !== 'boolean' || typeof afterMs !== 'number') return undefined
    return { linuxBoots, afterMs }
  } catch {
    // Absent or unreadable: not known.
    return undefined
  }
}
