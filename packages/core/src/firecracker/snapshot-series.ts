import { compareFirecrackerVersions, type FirecrackerVersion, parseFirecrackerVersion } from './version.js'

/** Releases that load each other's snapshots. */
interface SnapshotSeries {
  /** The first release of the series. The series ends before `since` of the next row. */
  readonly since: string
  /** The releases as text for messages. */
  readonly releases: string
  /** The version in their state files; null if the release is newer than this table. */
  readonly snapshotVersion: string | null
}

/**
 * Firecracker loads a state file if the major number of the snapshot version is its own and the minor number
 * is not higher. So far every minor number is 0. 3.0.0 and 8.0.0 each name two layouts, so 1.13 and 1.14 do
 * not load each other's snapshots although the version is the same. Source: SNAPSHOT_VERSION in
 * src/vmm/src/persist.rs of each release.
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
/** The first release after the table. */
const unknownSince = '1.18.0'

/**
 * The series of a release. If the table lacks it, Varve assumes that it loads only snapshots of its own minor
 * series.
 */
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
