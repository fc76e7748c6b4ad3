import type { StateFile } from '../../firecracker/state-file/read-state-file.js'
import type { SnapshotConfig } from '../../store/snapshot-types.js'
import { fail, ok, type SnapshotCheck, warn } from './snapshot-check.js'

/** These cost no system call: every restore makes them, too. */

const names: Readonly<Record<string, string>> = { x64: 'x86_64', arm64: 'aarch64' }
export const hostArch = (arch: string = process.arch): string => names[arch] ?? arch

/** A config may have the architecture's name in Node or in Linux. */
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

/** Checks that the regions of the state file cover the memory that is there, in bytes. */
export function checkRegions(
  { memoryFileBytes, regions }: Pick<StateFile, 'memoryFileBytes' | 'regions'>,
  availableBytes: number,
): SnapshotCheck {
  const id = 'regions'
  const said = `${regions.length} of ${memoryFileBytes} bytes in all`
  if (availableBytes === memoryFileBytes) return ok(id, `${said}, equal to the memory`)
  if (availableBytes > memoryFileBytes)
    return warn(
      id,
      `${said}, but the memory has ${availableBytes}: the rest is not used`,
      'check that this memory file belongs to this state file',
    )
  return fail(
    id,
    'IMAGE_MISMATCH',
    `${said}, but the memory has ${availableBytes}: Firecracker refuses it`,
    'use the memory file that was written with this state file',
  )
}
