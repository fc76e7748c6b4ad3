import { blockBytes } from '../tar-header.js'

/** Members of an archive for tests, also such as no tool would write. */
export interface MadeEntry {
  readonly name: string
  /** The type in the header. Default '0', a file. */
  readonly type?: string
  readonly content?: Uint8Array | string
  readonly linkName?: string
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  readonly mtime?: number
  readonly device?: readonly [number, number]
  /** Records of a pax header in front of it. */
  readonly pax?: Readonly<Record<string, Uint8Array | string>>
  /** In the header in place of the length of `content`. */
  readonly sizeBytes?: number
}

export function madeTar(entries: readonly MadeEntry[]): Buffer {
  const parts = entries.flatMap((entry) => {
    const content = Buffer.from(entry.content ?? '')
    const records = Object.entries(entry.pax ?? {}).map(([key, value]) => paxRecord(key, Buffer.from(value)))
    const pax = Buffer.concat(records)
    return [
      ...(records.length === 0
        ? []
        : [header({ name: 'pax', type: 'x', sizeBytes: pax.length }), ...padded(pax)]),
      header({ ...entry, sizeBytes: entry.sizeBytes ?? content.length }),
      ...padded(content),
    ]
  })
  return Buffer.concat([...parts, Buffer.alloc(2 * blockBytes)])
}

const padded = (bytes: Buffer) => [
  bytes,
  Buffer.alloc((blockBytes - (bytes.length % blockBytes)) % blockBytes),
]

/** "LENGTH KEY=VALUE\n", where LENGTH counts itself. */
export function paxRecord(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')])
  let length = rest.length
  length += String(length + String(length).length).length
  return Buffer.concat([Buffer.from(String(length)), rest])
}

function header(entry: MadeEntry & { readonly sizeBytes: number }): Buffer {
  const { name, type = '0', linkName = '', uid = 0, gid = 0, mtime = 0, device = [0, 0] } = entry
  const mode = entry.mode ?? (type === '5' ? 0o755 : 0o644)
  const block = Buffer.alloc(blockBytes)
  const octal = (value: number, at: number, length: number) =>
    block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at, length, 'latin1')
  block.write(name, 0, 100)
  octal(mode, 100, 8)
  octal(uid, 108, 8)
  octal(gid, 116, 8)
  octal(entry.sizeBytes, 124, 12)
  octal(mtime, 136, 12)
  block.write(type, 156, 'latin1')
  block.write(linkName, 157, 100)
  block.write('ustar\x0000', 257, 'latin1')
  octal(device[0], 329, 8)
  octal(device[1], 337, 8)
  block.fill(' ', 148, 156)
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}
