import type { LoadOptions } from '../machine/launched-machine.js'
import type { LoadableSnapshot, SnapshotConfig } from '../store/snapshot-types.js'

/**
 * All that a load of a snapshot needs but its memory. Disks that the guest may write to are copied for it.
 */
export function loadOptionsOf(snapshot: LoadableSnapshot): Omit<LoadOptions, 'memory'> {
  const { entry, config, statePath, diskFiles, clonesDirectory } = snapshot
  return {
    statePath,
    snapshotId: entry.id,
    savedVsockPath: vsockPathOf(config),
    guestAgent: config.guestAgent,
    disks: diskFiles.map(({ file, path, readOnly }) => ({
      file,
      source: path,
      mode: readOnly ? 'link' : 'copy',
    })),
    diskDirectory: clonesDirectory,
  }
}

/** By the configuration that Firecracker gave when the snapshot was taken. */
function vsockPathOf({ machine }: SnapshotConfig): string | null {
  const path = (machine.vsock as { readonly uds_path?: unknown } | null | undefined)?.uds_path
  return typeof path === 'string' ? path : null
}
