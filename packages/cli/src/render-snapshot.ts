import type { Labels } from 'varve'
import type { ExtentReport, SnapshotReport } from './snapshot-report.js'
import { age, count, cut, humanBytes, humanPages, printable, sections, shortId, table } from './text.js'

/** Wide enough for every value but kernel command lines, narrow enough for a terminal of 100 columns. */
const valueWidth = 84

/** The report as text for people. */
export function renderSnapshot(report: SnapshotReport, extents?: readonly ExtentReport[]): string {
  const { disks } = report
  return sections([
    table(facts(report).map(([name, value]) => [name, cut(printable(value), valueWidth)])),
    layerTable(report),
    disks.length > 0 &&
      table(
        [
          ['DISK', 'FILE', 'SIZE', 'GUEST', 'DIGEST'],
          ...disks.map(({ drive, file, sizeBytes, readOnly, digest }) => [
            cut(drive, 20),
            cut(printable(file), 32),
            humanBytes(sizeBytes),
            readOnly ? 'reads' : 'writes',
            digest === null ? '-' : shortDigest(digest),
          ]),
        ],
        { right: [2] },
      ),
    extents !== undefined &&
      table(
        [
          ['FIRST PAGE', 'PAGES', 'SIZE', 'LAYER', 'STORED PAGE'],
          ...extents.map((it) => [
            String(it.firstPage),
            String(it.pages),
            humanPages(it.pages),
            it.layer === null ? 'zero' : String(it.layer),
            it.storedPage === null ? '-' : String(it.storedPage),
          ]),
        ],
        { right: [0, 1, 2, 3, 4] },
      ),
  ])
}

function facts(report: SnapshotReport): [string, string][] {
  const { id, tags, parent, createdAt, kind, firecracker, host, memoryPages, extents, state } = report
  const boot = report.machine['boot-source']
  const vcpus = textAt(report.machine['machine-config'], 'vcpu_count')
  const [kernel, bootArgs] = [textAt(boot, 'kernel_image_path'), textAt(boot, 'boot_args')]
  const names = report.workingSets.map(({ name }) => name)
  return [
    ['snapshot', id],
    ['tags', tags.join(', ') || 'none: gc removes it unless a machine needs it'],
    ...optional('labels', pairsOf(report.labels ?? {})),
    ['parent', parent ?? 'none'],
    ['taken', `${createdAt}, ${age(createdAt)} ago, ${kind} by Firecracker ${firecracker.version}`],
    ['host', `${host.cpu}, Linux ${host.kernel}, ${host.arch}`],
    [
      'memory',
      `${humanPages(memoryPages)}${extents === null ? '' : `: ${humanPages(extents.dataPages)} data, ${humanPages(extents.zeroPages)} zero, in ${count(extents.runs, 'extent')}`}`,
    ],
    ...optional('vCPUs', vcpus),
    ...optional('kernel', kernel),
    ...optional('boot args', bootArgs),
    ['state', `${humanBytes(state.size)}, ${shortDigest(state.digest)}`],
    ...optional('working sets', names.join(', ')),
  ]
}

const optional = (name: string, value: string): [string, string][] => (value === '' ? [] : [[name, value]])

const pairsOf = (labels: Labels): string =>
  Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(', ')

/**
 * A field of Firecracker's configuration, as it said it at capture; versions differ, so any may be missing.
 */
function textAt(value: unknown, field: string): string {
  const found: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, field) : undefined
  return typeof found === 'string' || typeof found === 'number' ? String(found) : ''
}

function layerTable({ layers }: SnapshotReport): string {
  const orDash = (value: number | null, show: (value: number) => string) =>
    value === null ? '-' : show(value)
  return table(
    [
      ['LAYER', 'IMAGE', 'LAYOUT', 'ON DISK', 'STORES', 'IN USE', 'ZERO', 'DIGEST'],
      ...layers.map((it, number) => [
        String(number),
        it.image === null ? '-' : shortId(it.image),
        it.layout ?? '-',
        orDash(it.diskBytes, humanBytes),
        orDash(it.dataPages, humanPages),
        orDash(it.pagesInUse, humanPages),
        orDash(it.zeroPages, humanPages),
        shortDigest(it.digest),
      ]),
    ],
    { right: [0, 3, 4, 5, 6] },
  )
}

const shortDigest = (digest: string): string => digest.slice('sha256:'.length, 'sha256:'.length + 12)
