import { expect, test } from 'vitest'
import { maxLineBytes } from './explain-limits.js'
import { readOwnerReport } from './owner-report.js'

async function* chunked(text: string, size = 7) {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
}

async function read(text: string, size?: number) {
  const seen: unknown[] = []
  const note = (what: string) => (it: unknown) => {
    seen.push([what, it])
  }
  const reader = { process: note('process'), mapping: note('mapping'), file: note('file'), run: note('run') }
  return { end: await readOwnerReport(chunked(text, size), reader), seen }
}

const report = `page-owners 1
asker 9
process 7 ä b
map 400000 401000 r-xp 00000000 fe:00 1234 /usr/bin/with space
run 400 1a2b 3 f
map 7f00 7f01 rw-p 00000000 00:00 0 
run 7f00 5 1 a
process 9 varve-agent
file /etc/x\x1b[0m
run 0 77 2 f
end 2 1 3
`

test.each([1, 7, 100_000])(
  'tells processes, mappings, files and runs, in pieces of %i bytes',
  async (size) => {
    const { end, seen } = await read(report, size)
    expect(end).toEqual({ processes: 2, files: 1, skipped: 3 })
    expect(seen).toEqual([
      ['process', { pid: 7, name: 'ä b', asks: false }],
      ['mapping', { path: '/usr/bin/with space' }],
      ['run', { frame: 0x1a2b, count: 3, ofFile: true }],
      ['mapping', { path: '' }],
      ['run', { frame: 5, count: 1, ofFile: false }],
      ['process', { pid: 9, name: 'varve-agent', asks: true }],
      // A name must not reach a terminal as a command.
      ['file', { path: '/etc/x?[0m' }],
      ['run', { frame: 0x77, count: 2, ofFile: true }],
    ])
  },
)

test.each([
  ['another head', 'page-owners 2\n'],
  ['nothing', ''],
  ['no end', 'page-owners 1\n'],
  ['half a line', 'page-owners 1\nend 0 0 0'],
  ['lines behind its end', 'page-owners 1\nend 0 0 0\nprocess 1 a\n'],
  ['a run of no owner', 'page-owners 1\nrun 0 1 1 f\nend 0 0 0\n'],
  ['a run of a process without a mapping', 'page-owners 1\nprocess 1 a\nrun 0 1 1 f\nend 0 0 0\n'],
  ['a mapping of no process', 'page-owners 1\nmap 0 1 rw-p 0 0:0 0 \nend 0 0 0\n'],
  ['a mapping behind files', 'page-owners 1\nfile /a\nmap 0 1 rw-p 0 0:0 0 \nend 0 0 0\n'],
  ['a frame that is no number', 'page-owners 1\nfile /a\nrun 0 -1 1 f\nend 0 0 0\n'],
  ['a frame beyond 2^52', 'page-owners 1\nfile /a\nrun 0 ffffffffffffff 1 f\nend 0 0 0\n'],
  ['a word of JavaScript’s own', 'page-owners 1\nconstructor 1\nend 0 0 0\n'],
  ['a line without an end', `page-owners 1\n${'x'.repeat(maxLineBytes * 2)}`],
  ['a long line', `page-owners 1\nfile ${'x'.repeat(maxLineBytes * 2)}\nend 0 0 0\n`],
])('refuses a report with %s', async (_, text) => {
  for (const size of [50, 1_000_000])
    await expect(read(text, size)).rejects.toMatchObject({ code: 'GUEST_PROTOCOL' })
})

test('refuses more processes, and more owners, than the bounds', async () => {
  async function* endless(line: string) {
    yield Buffer.from('page-owners 1\n')
    for (;;) yield Buffer.from(line.repeat(10_000))
  }
  const ignore = { process: () => {}, mapping: () => {}, file: () => {}, run: () => {} }
  for (const line of ['process 1 a\n', 'file /a\n'])
    await expect(readOwnerReport(endless(line), ignore)).rejects.toMatchObject({ code: 'GUEST_PROTOCOL' })
})
