import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const script = `import { holdFaultAround } from 'varve/testing'
holdFaultAround(process.argv[1])
process.stdin.on('end', () => process.exit()).resume()
process.stdout.write('held')`

test.each(['SIGINT', 'SIGTERM', 'an exit'])('the kernel’s setting is put back by %s', async (how) => {
  const directory = mkdtempSync(join(tmpdir(), 'varve-fault-around-'))
  try {
    const path = join(directory, 'fault_around_bytes')
    writeFileSync(path, '65536\n')
    const child = spawn(process.execPath, ['--input-type=module', '-e', script, path], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    await once(child.stdout, 'data')
    expect(readFileSync(path, 'latin1')).toBe('4096\n')
    if (how === 'an exit') child.stdin.end()
    else child.kill(how as NodeJS.Signals)
    await once(child, 'exit')
    expect(readFileSync(path, 'latin1')).toBe('65536\n')
  } finally {
    rmSync(directory, { recursive: true })
  }
})
