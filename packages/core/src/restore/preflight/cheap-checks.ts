import type { StateFile } from '../../firecracker/state-file/read-state-file.js'
import type { SnapshotConfig } from '../../store/store-types.js'
import { fail, ok, type SnapshotCheck, warn } from './snapshot-check.js'

/** These cost no system call: every restore makes them, too. */

const names: Readonly<Record<string, string>> = { x64: 'x86_64', arm64: 'aarch64' }
export const hostArch = (arch: string = process.arch): string => names[arch] ?? arch

/** A config may have the name of Node or of Linux. */
export function checkArch(arch: string, here: string = hostArch()): SnapshotCheck {
  const of = names[arch] ?? arch
  if (of === here) return ok('arch', of)
  return fail(
    'arch',
    'HOST_UNSUPPORTED',
    `the snapshot is of an ${of} machine, and this one is ${here}`,
    `restore it on an ${of} machine`,
  )
}

export function checkHugePages(setting: unknown): SnapshotCheck {
  const id = 'huge-pages'
  if (setting === undefined || setting === null || setting === 'None') return ok(id, 'none')
  if (setting === 'not known')
    return warn(
      id,
      'the state file does not tell this Varve whether the guest has huge pages',
      'use a newer Varve; if it has huge pages, no engine can restore it',
    )
  return fail(
    id,
    'HOST_UNSUPPORTED',
    `the guest has huge pages (${String(setting)}): no engine can restore it`,
    'boot the guest without hugePages and take the snapshot again',
  )
}

export const hugePagesOf = ({ machine }: Pick<SnapshotConfig, 'machine'>): unknown =>
  (machine['machine-config'] as { readonly huge_pages?: unknown } | null | undefined)?.huge_pages

/** That the regions of the state file are the memory that there is, in bytes. */
export function checkRegions(
  { memoryFileBytes, regions }: Pick<StateFile, 'memoryFileBytes' | 'regions'>,
  availableBytes: number,
): SnapshotCheck {
  const id = 'regions'
  const said = `${regions.length} of ${memoryFileBytes} bytes in all`
  if (availableBytes === memoryFileBytes) return ok(id, `${said}, as the memory has`)
  if (availableBytes > memoryFileBytes)
    return warn(
      id,
      `${said}, and the memory has ${availableBytes}: what is behind them is not used`,
      'see that this memory file belongs to this state file',
    )
  return fail(
    id,
    'IMAGE_MISMATCH',
    `${said}, and the memory has ${availableBytes}: Firecracker refuses it`,
    'use the memory file that was written with this state file',
  )
}
