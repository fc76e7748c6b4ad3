import { compareFirecrackerVersions, type FirecrackerVersion, parseFirecrackerVersion } from './version.js'

/** Releases that load each other's snapshots. */
export interface SnapshotSeries {
  /** The first release of the series; the next row has the first that is not in it. */
  readonly since: string
  /** For people. */
  readonly releases: string
  /** The version in their state files; null where the release is newer than this table. */
  readonly snapshotVersion: string | null
}

/**
 * Firecracker loads a state file if its major number is the same and its minor number not above its own; so far every minor number is
 * 0. 3.0.0 and 8.0.0 each name two layouts, so that 1.13 and 1.14 do not load each other's snapshots although the version fits.
 * Source: SNAPSHOT_VERSION in src/vmm/src/persist.rs of each release.
 */
const series: readonly SnapshotSeries[] = [
  { since: '1.7.0', releases: '1.7.0', snapshotVersion: '1.0.0' },
  { since: '1.8.0', releases: '1.8.0', snapshotVersion: '2.0.0' },
  { since: '1.9.0', releases: '1.9.0 or 1.9.1', snapshotVersion: '3.0.0' },
  { since: '1.10.0', releases: '1.10.0', snapshotVersion: '3.0.0' },
  { since: '1.10.1', releases: '1.10.1', snapshotVersion: '4.0.0' },
  { since: '1.11.0', releases: '1.11.0', snapshotVersion: '5.0.0' },
  { since: '1.12.0', releases: '1.12.0 or 1.12.1', snapshotVersion: '6.0.0' },
  { since: '1.13.0', releases: '1.13.0 to 1.13.2', snapshotVersion: '8.0.0' },
  { since: '1.14.0', releases: '1.14.0 to 1.14.4', snapshotVersion: '8.0.0' },
  { since: '1.15.0', releases: '1.15.0 or 1.15.1', snapshotVersion: '9.0.0' },
  { since: '1.16.0', releases: '1.16.0 or 1.16.1', snapshotVersion: '10.0.0' },
  { since: '1.17.0', releases: '1.17', snapshotVersion: '11.0.0' },
]
/** The first release that the table says nothing of. */
const unknownSince = '1.18.0'

/** The series of a release. One that the table does not have is taken to load the snapshots of its own minor series only. */
export function snapshotSeriesOf(version: FirecrackerVersion): SnapshotSeries {
  const reached = (text: string) => compareFirecrackerVersions(version, parseFirecrackerVersion(text)) >= 0
  const known = reached(unknownSince) ? undefined : series.findLast(({ since }) => reached(since))
  if (known !== undefined) return known
  const minor = `${version.major}.${version.minor}`
  return { since: `${minor}.0`, releases: minor, snapshotVersion: null }
}

/** Whether `loader` loads snapshots that `maker` took. */
export const loadsSnapshotsOf = (loader: FirecrackerVersion, maker: FirecrackerVersion): boolean =>
  snapshotSeriesOf(loader).since === snapshotSeriesOf(maker).since
