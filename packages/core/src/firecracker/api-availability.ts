import { type Availability, type FirecrackerVersion, requireAvailable } from './version.js'

/**
 * First (and last) versions of calls and fields that not every supported release has. Keys are `METHOD
 * /path` for a whole call and `METHOD /path field` for one field; ids in paths are written `{id}`,
 * nested fields with dots. What is not listed exists in every supported version. Source: Firecracker's
 * swagger file and changelog per tag.
 */
export const apiAvailability: Readonly<Record<string, Availability>> = {
  'PUT /snapshot/load track_dirty_pages': { since: ['1.13.0'] },
  'PUT /snapshot/load network_overrides': { since: ['1.12.0'] },
  'PUT /snapshot/load vsock_override': { since: ['1.16.0'] },
  'PUT /snapshot/load clock_realtime': { since: ['1.14.4', '1.15.1', '1.16.0'] },
  'PUT /mmds/config imds_compat': { since: ['1.13.0'] },
  'PUT /balloon free_page_hinting': { since: ['1.14.0'] },
  'PUT /balloon free_page_reporting': { since: ['1.14.0'] },
  'PATCH /balloon/hinting/start': { since: ['1.14.0'] },
  'PATCH /balloon/hinting/stop': { since: ['1.14.0'] },
  'GET /balloon/hinting/status': { since: ['1.14.0'] },
  'PUT /serial': { since: ['1.14.0'] },
  'PUT /serial rate_limiter': { since: ['1.16.0'] },
  'PUT /pmem/{id}': { since: ['1.14.0'] },
  'PUT /pmem/{id} rate_limiter': { since: ['1.16.0'] },
  'PATCH /pmem/{id}': { since: ['1.16.0'] },
  'PUT /hotplug/memory': { since: ['1.14.0'] },
  'PATCH /hotplug/memory': { since: ['1.14.0'] },
  'GET /hotplug/memory': { since: ['1.14.0'] },
  'PUT /network-interfaces/{id} mtu': { since: ['1.16.0'] },
  'DELETE /drives/{id}': { since: ['1.16.0'] },
  'DELETE /pmem/{id}': { since: ['1.16.0'] },
  'DELETE /network-interfaces/{id}': { since: ['1.16.0'] },
}

/** Things that are not one call or field but differ by version all the same. */
export const featureAvailability = {
  /**
   * A Diff without track_dirty_pages (pages then come from mincore, see
   * docs/how-firecracker-snapshots-work.md).
   */
  untrackedDiff: { since: ['1.13.0'] },
  /** --enable-pci on the command line. */
  enablePci: { since: ['1.13.0'] },
} as const satisfies Record<string, Availability>

/** Throws VERSION_UNSUPPORTED when `version` lacks the call or one of the fields that `body` sets. */
export function requireApi(call: string, body: object | undefined, version: FirecrackerVersion): void {
  const whole = apiAvailability[call]
  if (whole) requireAvailable(call, whole, version)
  for (const [field, value] of Object.entries(body ?? {})) {
    if (value === undefined) continue
    const availability = apiAvailability[`${call} ${field}`]
    if (availability) requireAvailable(`field ${field} of ${call}`, availability, version)
  }
}
