// `node scripts/guest-agent.mjs`: builds the guest's agent from packages/guest/agent/*.c, which needs
// musl-gcc (Debian: musl-tools), and writes it and its SHA-256 into that folder. Users get the built file;
// none needs a compiler.
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const sources = fileURLToPath(new URL('../packages/guest/agent/', import.meta.url))
const program = join(sources, 'varve-agent-x86_64')
export const recordPath = `${program}.json`

/**
 * Equal sources give equal bytes with one compiler: nothing in them depends on a path, a time or the host.
 */
const flags = [
  ...['-std=gnu11', '-Os', '-static', '-s', '-Wall', '-Wextra', '-Werror', '-Wno-missing-field-initializers'],
  // The program is small, touches few pages, and each of them counts in every snapshot.
  ...['-fno-asynchronous-unwind-tables', '-fno-stack-protector', '-ffunction-sections', '-fdata-sections'],
  ...['-Wl,--gc-sections', '-Wl,--build-id=none', '-Wl,-z,norelro', '-Wl,-z,noseparate-code'],
]

export const hasCompiler = () => {
  try {
    execFileSync('musl-gcc', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** What the bytes depend on besides the sources. */
export function compiler() {
  const gcc = execFileSync('musl-gcc', ['--version'], { encoding: 'utf8' }).split('\n')[0]
  const musl = /Version: (.*)/.exec(execFileSync('dpkg-query', ['-s', 'musl-dev'], { encoding: 'utf8' }))
  return `${gcc}, musl ${musl?.[1]}`
}

/** The bytes of the program. */
export function buildAgent() {
  const directory = mkdtempSync(join(tmpdir(), 'varve-agent-'))
  try {
    const out = join(directory, 'agent')
    const files = readdirSync(sources)
      .filter((name) => name.endsWith('.c'))
      .sort()
    execFileSync('musl-gcc', [...flags, ...files, '-o', out], {
      cwd: sources,
      stdio: ['ignore', 'inherit', 'inherit'],
      env: { ...process.env, LC_ALL: 'C' },
    })
    return readFileSync(out)
  } finally {
    rmSync(directory, { recursive: true })
  }
}

export const digest = (bytes) => createHash('sha256').update(bytes).digest('hex')

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const bytes = buildAgent()
  writeFileSync(program, bytes, { mode: 0o755 })
  const record = { sha256: digest(bytes), compiler: compiler() }
  writeFileSync(recordPath, `${JSON.stringify(record, null, 2)}\n`)
  console.error(`varve: ${program}, ${bytes.length} bytes, ${record.sha256}`)
}
