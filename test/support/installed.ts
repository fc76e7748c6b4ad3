import { spawnSync } from 'node:child_process'

/** Whether a program is there. In CI a missing one is a failure: what cannot be tested must not pass. */
export function installed(program: string): boolean {
  const there = spawnSync(program, ['--version']).status === 0
  if (there) return true
  const words = `${program.toUpperCase()} IS NOT INSTALLED, SO ITS TESTS CANNOT RUN`
  if (process.env.CI) throw new Error(words)
  process.stderr.write(`${words}\n`)
  return false
}
