import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { manPages } from './man-page.js'
import { verbs } from './verbs.js'

const pages = await manPages('1.2.3')

test('a page for each verb, and one for all', () => {
  const wanted = Object.entries(verbs).flatMap(([name, entry]) =>
    'verbs' in entry ? Object.keys(entry.verbs).map((sub) => `varve-${name}-${sub}.1`) : [`varve-${name}.1`],
  )
  expect([...pages.keys()].sort()).toEqual([...wanted, 'varve.1'].sort())
})

test('sections, options, what a line of roff could take for its own', () => {
  const page = pages.get('varve-restore.1') ?? ''
  expect(page).toContain('.TH VARVE\\-RESTORE 1 "" "varve 1.2.3" "Varve"')
  for (const section of ['NAME', 'SYNOPSIS', 'DESCRIPTION', 'OPTIONS', 'EXAMPLES', 'EXIT STATUS'])
    expect(page).toContain(`\n.SH ${section}\n`)
  expect(page).toContain('\n.B \\-\\-engine auto\nwhichever fits (default); ')
  expect(pages.get('varve-push.1')).toContain('they are taken from there and not sent')
  expect(pages.get('varve-ws-record.1')).not.toMatch(/^\.(?!(?:TH|SH|SS|PP|TP|B|BR|nf|fi)\b)/m)
})

const groff = spawnSync('groff', ['--version']).status === 0

test.skipIf(!groff && !process.env.CI)('groff renders each without a complaint', () => {
  for (const [name, page] of pages) {
    const { status, stdout, stderr } = spawnSync('groff', ['-man', '-Kutf8', '-Tutf8', '-P-cbou', '-ww'], {
      input: page,
      encoding: 'utf8',
    })
    expect([status, stderr], name).toEqual([0, ''])
    expect(stdout, name).toContain('EXIT STATUS')
  }
})
