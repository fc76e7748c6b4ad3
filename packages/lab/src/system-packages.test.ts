import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { missingSystemPackages } from './system-packages.js'

test('a package is missing while its command is not an executable on PATH', () => {
  const directory = mkdtempSync(join(tmpdir(), 'varve-path-'))
  try {
    expect(missingSystemPackages({ PATH: directory })).toContain('qemu-system-x86')
    const qemu = join(directory, 'qemu-system-x86_64')
    writeFileSync(qemu, '', { mode: 0o644 })
    expect(missingSystemPackages({ PATH: `:${directory}` })).toContain('qemu-system-x86')
    chmodSync(qemu, 0o755)
    expect(missingSystemPackages({ PATH: `:${directory}` })).not.toContain('qemu-system-x86')
  } finally {
    rmSync(directory, { recursive: true })
  }
})
