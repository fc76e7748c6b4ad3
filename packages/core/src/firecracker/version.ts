import { VarveError } from '../errors.js'

/** A Firecracker release, e.g. 1.12.1. Pre-release suffixes are dropped: 1.17.0-dev counts as 1.17.0. */
export interface FirecrackerVersion {
  /** The first number. */
  readonly major: number
  /** The second number. */
  readonly minor: number
  /** The third number. */
  readonly patch: number
}

/** Parses "1.12.1", "v1.12.1" or "Firecracker v1.12.1-dev". Anything else is FORMAT_INVALID. */
export function parseFirecrackerVersion(text: string): FirecrackerVersion {
  const match = /(?:^|\s|v)(\d{1,4})\.(\d{1,4})\.(\d{1,4})\b/.exec(text)
  if (!match)
    throw new VarveError('FORMAT_INVALID', `no Firecracker version in ${JSON.stringify(text.slice(0, 80))}`)
  return { major: Number(match[1]), minor: Number(match[2]), patch: Number(match[3]) }
}

/** The version as text, e.g. "1.12.1". */
export function formatFirecrackerVersion(version: FirecrackerVersion): string {
  return `${version.major}.${version.minor}.${version.patch}`
}

/** Negative, zero or positive as `a` is older than, equal to or newer than `b`. */
export function compareFirecrackerVersions(a: FirecrackerVersion, b: FirecrackerVersion): number {
  return a.major - b.major || a.minor - b.minor || a.patch - b.patch
}

/**
 * When something exists in Firecracker. `since` lists first versions in ascending order: the last one holds
 * for every later release, an earlier one only within its own minor series (a back-port). `until` is the
 * first version without it.
 */
export interface Availability {
  readonly since: readonly string[]
  readonly until?: string
}

export function isAvailable(availability: Availability, version: FirecrackerVersion): boolean {
  if (availability.until !== undefined) {
    if (compareFirecrackerVersions(version, parseFirecrackerVersion(availability.until)) >= 0) return false
  }
  return availability.since.some((text, index) => {
    const since = parseFirecrackerVersion(text)
    if (compareFirecrackerVersions(version, since) < 0) return false
    const last = index === availability.since.length - 1
    return last || (version.major === since.major && version.minor === since.minor)
  })
}

/** Throws VERSION_UNSUPPORTED naming the first version that has `what`. */
export function requireAvailable(
  what: string,
  availability: Availability,
  version: FirecrackerVersion,
): void {
  if (isAvailable(availability, version)) return
  const have = formatFirecrackerVersion(version)
  const [first, ...rest] = availability.since
  const since = rest.length === 0 ? first : `${first} (also ${rest.join(', ')} in later series)`
  const gone = availability.until === undefined ? '' : ` and gone in ${availability.until}`
  throw new VarveError(
    'VERSION_UNSUPPORTED',
    `${what} needs Firecracker ${since}${gone}; this one is ${have}`,
    {
      remedy: `use Firecracker ${availability.since.at(-1)} or newer, or leave it out`,
      details: { what, since: availability.since, until: availability.until ?? null, version: have },
    },
  )
}

/**
 * Oldest and newest release whose interface was checked against its source and,
 * where marked so, by running it.
 */
export const supportedVersions = { oldest: '1.10.1', newest: '1.16.1' } as const
