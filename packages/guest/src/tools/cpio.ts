/** One member of an initramfs. Parents are named before what is in them. */
export type CpioEntry =
  | { readonly path: string; readonly kind: 'directory' }
  | {
      readonly path: string
      readonly kind: 'file'
      readonly content: Uint8Array
      readonly executable?: boolean
    }
  | { readonly path: string; readonly kind: 'device'; readonly major: number; readonly minor: number }

const fileTypes = { directory: 0o040000, file: 0o100000, device: 0o020000 } as const

/**
 * A cpio archive in the "newc" format, the one that the kernel unpacks as initramfs
 * (Linux Documentation/driver-api/early-userspace/buffer-format.rst). Owner root, time 0:
 * equal entries give equal bytes.
 */
export function cpioArchive(entries: readonly CpioEntry[]): Buffer {
  const parts: Buffer[] = []
  for (const [index, entry] of entries.entries()) {
    const content = entry.kind === 'file' ? Buffer.from(entry.content) : Buffer.alloc(0)
    const permissions =
      entry.kind === 'file'
        ? entry.executable === true
          ? 0o755
          : 0o644
        : entry.kind === 'directory'
          ? 0o755
          : 0o600
    parts.push(
      ...member(
        entry.path,
        index + 1,
        fileTypes[entry.kind] | permissions,
        content,
        entry.kind === 'device' ? [entry.major, entry.minor] : [0, 0],
      ),
    )
  }
  parts.push(...member('TRAILER!!!', 0, 0, Buffer.alloc(0), [0, 0]))
  return Buffer.concat(parts)
}

/**
 * `070701` and 13 fields of 8 hex digits, then the name, then the content; name and content end on 4 bytes.
 */
function member(
  path: string,
  inode: number,
  mode: number,
  content: Buffer,
  device: readonly [number, number],
): Buffer[] {
  const name = Buffer.from(`${path}\0`, 'utf8')
  const fields = [inode, mode, 0, 0, 1, 0, content.length, 0, 0, device[0], device[1], name.length, 0]
  const header = Buffer.from(
    `070701${fields.map((it) => it.toString(16).padStart(8, '0')).join('')}`,
    'latin1',
  )
  return [header, name, padding(header.length + name.length), content, padding(content.length)]
}

const padding = (length: number) => Buffer.alloc((4 - (length % 4)) % 4)
