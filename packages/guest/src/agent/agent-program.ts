import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { VarveError } from 'varve'

/** Where the built agent lies in this package: a static program for Linux on x86-64. */
export const agentProgramPath = fileURLToPath(new URL('../../agent/varve-agent-x86_64', import.meta.url))

/**
 * The agent's program, for a guest's root file system, where it must be executable. Errors:
 * CHECKSUM_MISMATCH if the file is not the one that was published.
 */
export async function agentProgram(): Promise<Buffer> {
  const [program, record] = await Promise.all([
    readFile(agentProgramPath),
    readFile(`${agentProgramPath}.json`, 'utf8'),
  ])
  const { sha256 } = JSON.parse(record) as { readonly sha256: string }
  const found = createHash('sha256').update(program).digest('hex')
  if (found === sha256) return program
  throw new VarveError('CHECKSUM_MISMATCH', `${agentProgramPath} has the SHA-256 ${found}, not ${sha256}`, {
    remedy: 'install @varve/guest again',
  })
}
