import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { parseFirecrackerVersion } from './version.js'
import { factsOf, type RestoreFacts, versionFacts } from './version-facts.js'

const about = (version: string, more: Partial<RestoreFacts> = {}): RestoreFacts => ({
  maker: parseFirecrackerVersion(version),
  loader: parseFirecrackerVersion(version),
  arch: 'x86_64',
  hostKernel: '6.18.44-generic',
  hasVsock: true,
  isDiff: true,
  memorySlots: 2,
  ...more,
})
const ids = (it: RestoreFacts) => factsOf(it).map(({ id }) => id)

/** For each fact: releases that have it, releases that do not, and what else it takes. */
const rows: readonly (readonly [
  id: string,
  having: readonly string[],
  not: readonly string[],
  without: Partial<RestoreFacts>,
])[] = [
  ['vmgenid', ['1.10.1', '1.15.1'], ['1.16.0', '1.16.1'], { arch: 'aarch64' }],
  ['ia32-xss', ['1.12.1', '1.16.0'], ['1.16.1'], { hostKernel: '6.17.9' }],
  ['vsock-bare-pause', ['1.16.0', '1.16.1'], ['1.15.1'], { hasVsock: false }],
  ['vsock-after-restore', ['1.16.0'], ['1.15.1', '1.16.1'], { hasVsock: false }],
  [
    'monotonic-clock',
    ['1.12.1', '1.14.3', '1.15.0'],
    ['1.14.4', '1.15.1', '1.16.0'],
    { hostKernel: '5.15.0-91' },
  ],
  ['diff-of-several-slots', ['1.14.0', '1.14.1'], ['1.13.2', '1.14.2', '1.15.0'], { memorySlots: 1 }],
]

test.each(rows)('%s: in %j, not in %j, nor without what it takes', (id, having, not, without) => {
  for (const version of having) {
    expect(ids(about(version)), version).toContain(id)
    expect(ids(about(version, without)), version).not.toContain(id)
    expect(ids(about(version, { maker: undefined, loader: undefined })), version).not.toContain(id)
  }
  for (const version of not) expect(ids(about(version)), version).not.toContain(id)
})

test('every fact has a row here, a source and a remedy', () => {
  expect(rows.map(([id]) => id)).toEqual(versionFacts.map(({ id }) => id))
  for (const { source, remedy } of versionFacts) {
    expect(source).toMatch(/#\d+$|CHANGELOG$/)
    expect(remedy.length).toBeGreaterThan(10)
  }
})

test('the release that took the snapshot and the one that loads it are told apart', () => {
  const later = { loader: parseFirecrackerVersion('1.14.4') }
  expect(ids(about('1.14.0', later))).toContain('diff-of-several-slots')
  expect(ids(about('1.14.0', later))).not.toContain('monotonic-clock')
})

test('docs/guides/doctor.md lists each fact with its source', () => {
  const page = readFileSync(new URL('../../../../docs/guides/doctor.md', import.meta.url), 'utf8')
  for (const { id, of, source } of versionFacts)
    expect(page).toMatch(
      new RegExp(`^\\| \`${id}\` \\| ${of === 'maker' ? 'taken' : 'loaded'} by \\|.*\\| ${source} \\|$`, 'm'),
    )
})
