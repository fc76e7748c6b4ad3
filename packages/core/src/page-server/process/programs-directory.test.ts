import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { isNoexec } from './programs-directory.js'

const directory = mkdtempSync(join(tmpdir(), 'varve-programs-'))
afterAll(() => rmSync(directory, { recursive: true }))
mkdirSync(join(directory, 'a b', 'below'), { recursive: true })

const line = (point: string, options: string) =>
  `36 35 0:30 / ${point} ${options} shared:1 - tmpfs tmpfs rw,size=1g`
const cases: [string, string[], boolean][] = [
  ['the root runs programs', [line('/', 'rw,relatime')], false],
  ['the root runs none', [line('/', 'rw,noexec')], true],
  ['the innermost mount decides', [line(directory, 'rw,nosuid,noexec'), line('/', 'rw')], true],
  ['and is not one with a like name', [line('/', 'rw'), line(`${directory}/a`, 'rw,noexec')], false],
  ['spaces in its name', [line('/', 'rw'), line(`${directory}/a\\040b`, 'rw,noexec')], true],
  ['the last of two on one place', [line(directory, 'noexec'), line(directory, 'rw')], false],
  ['another option that has the word in it', [line('/', 'rw,xnoexec')], false],
]
test.each(cases)('%s', (_, lines, noexec) => {
  expect(isNoexec(join(directory, 'a b', 'below'), `${lines.join('\n')}\n`)).toBe(noexec)
})
