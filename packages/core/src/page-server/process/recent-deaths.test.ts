import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { dieTooOften } from './recent-deaths.js'

test('twelve deaths within five seconds are too many, whatever was there before', () => {
  const directory = mkdtempSync(join(tmpdir(), 'varve-deaths-'))
  const path = join(directory, 'deaths.json')
  writeFileSync(path, 'nonsense')
  const seen = (from: number, apartMs: number) =>
    Array.from({ length: 14 }, (_, index) => dieTooOften(path, from + index * apartMs))
  expect(seen(1000, 500)).not.toContain(true)
  expect(seen(100_000, 400).indexOf(true)).toBe(11)
  rmSync(directory, { recursive: true })
})
