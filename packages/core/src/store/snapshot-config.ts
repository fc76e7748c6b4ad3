import { Fields, parseJson } from '../content/checked-json.js'
import { idPattern, timePattern } from '../content/descriptors.js'
import { VarveError } from '../errors.js'
import { maxVsockPort } from '../guest-agent-place.js'
import { type Labels, labelsProblem } from '../labels.js'
import { imagePagesLimit } from '../layer/layer-index.js'
import type { DiskConfig, SnapshotConfig } from './snapshot-types.js'

const format = 'varve-snapshot'
const version = 1
/** Firecracker takes far fewer. */
const maxDisks = 1024

export function snapshotConfigToJson({ labels = {}, ...config }: SnapshotConfig): Buffer {
  const some = Object.keys(labels).length === 0 ? {} : { labels }
  return Buffer.from(JSON.stringify({ format, version, ...config, ...some }, null, 1))
}

/** Reads a config that may come from anywhere. */
export function snapshotConfigFromJson(bytes: Buffer, path: string): SnapshotConfig {
  const fields = new Fields(path, parseJson(bytes, path))
  fields.text('format', /^varve-snapshot$/, `"${format}"`)
  const found = fields.whole('version', 1, 2 ** 31)
  if (found > version)
    throw new VarveError(
      'FORMAT_UNSUPPORTED',
      `${path}: snapshot version ${found}, this Varve knows ${version}`,
      { remedy: 'use a newer Varve', details: { path, offset: 0 } },
    )
  const host = fields.object('host')
  const words = /^[\x20-\x7e]{0,256}$/
  return {
    id: fields.text('id', idPattern, 'an id'),
    parent: fields.raw('parent') === null ? null : fields.text('parent', idPattern, 'an id or null'),
    createdAt: fields.text('createdAt', timePattern, 'a time in UTC'),
    kind: fields.text('kind', /^(full|diff)$/, '"full" or "diff"') as SnapshotConfig['kind'],
    memoryPages: fields.whole('memoryPages', 1, imagePagesLimit),
    firecracker: {
      version: fields.object('firecracker').text('version', /^[\x21-\x7e]{1,64}$/, 'a version'),
    },
    host: {
      cpu: host.text('cpu', words, 'printable text'),
      kernel: host.text('kernel', words, 'printable text'),
      arch: host.text('arch', words, 'printable text'),
      pageSizeBytes: host.whole('pageSizeBytes', 1, 2 ** 30),
    },
    machine: fields.record('machine'),
    ...guestAgentFrom(fields),
    labels: labelsFrom(fields),
    disks: fields.list('disks', maxDisks).map((disk) => diskFromJson(path, disk)),
  }
}

function guestAgentFrom(fields: Fields): Pick<SnapshotConfig, 'guestAgent'> {
  if (fields.raw('guestAgent') === undefined) return {}
  return { guestAgent: { port: fields.object('guestAgent').whole('port', 1, maxVsockPort) } }
}

function labelsFrom(fields: Fields): Labels {
  const labels = fields.strings('labels')
  const problem = labelsProblem(labels)
  if (problem !== undefined) throw fields.refusal('labels', labels, `right: ${problem}`)
  return labels
}

function diskFromJson(path: string, value: unknown): DiskConfig {
  const fields = new Fields(path, value, 'a disk')
  return {
    drive: fields.text('drive', /^[\x21-\x7e]{1,64}$/, 'a drive id'),
    // A name in the VMM's directory or an absolute path; which names are safe is checked where they are used.
    file: fields.text('file', /^[^\0]{1,4096}$/, 'a file name or path'),
    readOnly: fields.flag('readOnly'),
    sizeBytes: fields.whole('sizeBytes', 0, Number.MAX_SAFE_INTEGER),
  }
}
