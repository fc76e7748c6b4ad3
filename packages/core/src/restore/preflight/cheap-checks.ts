import type { StateFile } from '../../firecracker/state-file/read-state-file.js'
import { hugePageBytes } from '../../memory/units.js'
import type { SnapshotConfig } from '../../store/snapshot-types.js'
import { hugePagePool } from '../../sys/huge-page-pool.js'
import { fail, ok, type SnapshotCheck, warn } from './snapshot-check.js'

/** These cost no system call, but for a guest with huge pages: every restore makes them, too. */

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

/** Whether guest memory is on hugetlbfs, by the setting of a config or state file. */
export const hasHugePages = (setting: unknown): boolean =>
  setting !== undefined && setting !== null && setting !== 'None' && setting !== 'not known'

/** `pool`: what the host keeps. */
export function checkHugePages(setting: unknown, memoryBytes: number, pool = hugePagePool): SnapshotCheck {
  const id = 'huge-pages'
  if (setting === 'not known')
    return warn(
      id,
      'the state file does not tell this Varve whether the guest has huge pages',
      'use a newer Varve; if it has huge pages, only the paged engine can restore it',
    )
  if (!hasHugePages(setting)) return ok(id, 'none')
  if (setting !== '2M')
    return fail(
      id,
      'HOST_UNSUPPORTED',
      `the guest has huge pages (${String(setting)}), and only those of 2M can be served`,
      'boot the guest with other pages and take the snapshot again',
    )
  const wanted = Math.ceil(memoryBytes / hugePageBytes)
  const { pages, available } = pool()
  const has = `the guest has huge pages (2M), ${wanted} at most, and this host has ${available} free of ${pages}`
  const remedy = `raise vm.nr_hugepages (sysctl) by ${wanted - available}`
  if (available === 0 && wanted > 0) return fail(id, 'HOST_UNSUPPORTED', has, remedy)
  if (available < wanted) return warn(id, `${has}: the VM is killed if it touches more`, remedy)
  return ok(id, `${has}; the paged engine restores it`)
}

/** For a restore from a memory file: Firecracker does not load huge pages from one. */
export function checkOnMemoryFile(setting: unknown): SnapshotCheck {
  const id = 'huge-pages'
  if (!hasHugePages(setting)) return ok(id, 'none')
  return fail(
    id,
    'HOST_UNSUPPORTED',
    `the guest has huge pages (${String(setting)}), which Firecracker loads from a page server only`,
    'import the snapshot into a store and restore it from there',
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
