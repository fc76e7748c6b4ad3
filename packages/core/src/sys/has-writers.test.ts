import { closeSync, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { hasWriters } from './has-writers.js'

test('a file has writers while any process has it open for writing', () => {
  const directory = mkdtempSync(join(tmpdir(), 'varve-writers-'))
  const path = join(directory, 'file')
  writeFileSync(path, '')
  const fd = openSync(path, 'r')
  const reader = openSync(path, 'r')
  const writer = openSync(path, 'r+')
  expect(hasWriters(fd)).toBe(true)
  closeSync(writer)
  expect([hasWriters(fd), hasWriters(fd)]).toEqual([false, false])
  // The lease was given back: opening for writing neither waits nor raises a signal.
  closeSync(openSync(path, 'r+'))
  for (const it of [fd, reader]) closeSync(it)
  rmSync(directory, { recursive: true })
})
