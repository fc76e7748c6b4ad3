import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))

test('the pictures of README are what their script draws from the rows in docs/results', () => {
  const directory = mkdtempSync(join(tmpdir(), 'varve-pictures-'))
  onTestFinished(() => rmSync(directory, { recursive: true }))
  execFileSync(process.execPath, [join(root, 'packages/bench/bin/bench.js'), 'readme-pictures', directory])
  const drawn = readdirSync(directory).sort()
  expect(drawn).toEqual(readdirSync(join(root, 'docs/pictures')).sort())
  for (const name of drawn)
    expect(readFileSync(join(directory, name), 'utf8'), name).toBe(
      readFileSync(join(root, 'docs/pictures', name), 'utf8'),
    )
})
