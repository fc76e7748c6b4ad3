import { expect, test } from 'vitest'
import { type CpioEntry, cpioArchive } from './cpio.js'

/**
 * Reads an archive back by the rules of buffer-format.rst: every header, name and content starts on 4 bytes.
 */
function read(archive: Buffer): { path: string; mode: string; content: string; device: string }[] {
  const members = []
  for (let at = 0; ; ) {
    expect(archive.toString('latin1', at, at + 6)).toBe('070701')
    const field = (index: number) =>
      Number.parseInt(archive.toString('latin1', at + 6 + 8 * index, at + 14 + 8 * index), 16)
    const nameEnd = at + 110 + field(11)
    expect(archive[nameEnd - 1]).toBe(0)
    const path = archive.toString('utf8', at + 110, nameEnd - 1)
    const start = Math.ceil(nameEnd / 4) * 4
    const content = archive.toString('latin1', start, start + field(6))
    if (path === 'TRAILER!!!') {
      expect(start).toBe(archive.length)
      return members
    }
    members.push({ path, mode: field(1).toString(8), content, device: `${field(9)}:${field(10)}` })
    at = Math.ceil((start + field(6)) / 4) * 4
  }
}

test('holds folders, files of any length and devices', () => {
  const files = [0, 1, 2, 3, 4, 5].map(
    (length): CpioEntry => ({
      path: `d/${'n'.repeat(length + 1)}`,
      kind: 'file',
      content: Buffer.alloc(length, 'x'),
    }),
  )
  const archive = cpioArchive([
    { path: 'd', kind: 'directory' },
    ...files,
    { path: 'init', kind: 'file', content: Buffer.from('#!'), executable: true },
    { path: 'dev/console', kind: 'device', major: 5, minor: 1 },
  ])
  expect(read(archive)).toEqual([
    { path: 'd', mode: '40755', content: '', device: '0:0' },
    ...[0, 1, 2, 3, 4, 5].map((length) => ({
      path: `d/${'n'.repeat(length + 1)}`,
      mode: '100644',
      content: 'x'.repeat(length),
      device: '0:0',
    })),
    { path: 'init', mode: '100755', content: '#!', device: '0:0' },
    { path: 'dev/console', mode: '20600', content: '', device: '5:1' },
  ])
})
