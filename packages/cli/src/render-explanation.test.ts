import type { Explanation, OwnedPages } from '@varve/guest'
import { expect, test } from 'vitest'
import { renderExplanation } from './render-explanation.js'

const owner = (part: OwnedPages['part'], name: string, pages: number, pids: number[] = []): OwnedPages => ({
  part,
  name,
  pages,
  writtenPages: Math.floor(pages / 2),
  processes: pids.map((pid) => ({ pid, name: `p${pid}` })),
})

function explanation(owners: OwnedPages[], more: Partial<Explanation> = {}): Explanation {
  const pages = owners.reduce((sum, it) => sum + it.pages, 0)
  const unexplainedPages = owners.find(({ part }) => part === 'unexplained')?.pages ?? 0
  return { pages, writtenPages: 4, unexplainedPages, owners, skipped: 0, hasFrameFlags: true, ...more }
}

test('shows shares by kind, then by owner with its processes', () => {
  const owners = [
    owner('file', '/lib/libc.so', 50, [1, 2, 3, 4, 5]),
    owner('anonymous', '', 30, [7]),
    owner('file', '/lib/libm.so', 10),
    owner('unexplained', '', 10),
  ]
  expect(
    renderExplanation(explanation(owners), false),
  ).toBe(`100 pages, 400 KiB, 4 of them written; 10.0 % unexplained

 SHARE  PAGES      SIZE  WRITTEN  KIND
60.0 %     60   240 KiB       30  file
30.0 %     30   120 KiB       15  anonymous
10.0 %     10  40.0 KiB        5  unexplained

 SHARE  PAGES      SIZE  WRITTEN  KIND         NAME          PROCESSES
50.0 %     50   200 KiB       25  file         /lib/libc.so  p1 (1), p2 (2), p3 (3) and 2 more
30.0 %     30   120 KiB       15  anonymous                  p7 (7)
10.0 %     10  40.0 KiB        5  file         /lib/libm.so
10.0 %     10  40.0 KiB        5  unexplained`)
})

test('shows forty owners, or all; says what was not looked at, and which kernels tell little', () => {
  const owners = Array.from({ length: 50 }, (_, i) => owner('file', `/f${i}`, 1))
  const few = renderExplanation(explanation(owners, { skipped: 3, hasFrameFlags: false }), false)
  expect(few).toContain('40.0 KiB of 10 other owners: see --all or --json')
  expect(few).toContain('not looked at, because too large or too many: 3 mappings and files')
  expect(few).toContain('/proc/kpageflags')
  expect(few).not.toContain('/f49')
  expect(renderExplanation(explanation(owners), true)).toContain('/f49')
})
