import type { LabRunOptions, NestedLab } from '@varve/lab'
import { inCheckout } from '../common/checkout.js'
import { say } from '../common/results.js'

type RunOptions = Pick<LabRunOptions, 'args' | 'timeoutMs' | 'outputDirectory'> & {
  /** Files of test/nested-lab that lie next to the script. */
  readonly files?: readonly string[]
}

/** Runs a script of test/nested-lab, which must succeed, and gives its result. */
export async function runInLab(
  lab: NestedLab,
  script: string,
  { files = [], ...options }: RunOptions,
): Promise<unknown> {
  const there = (name: string) => inCheckout(`test/nested-lab/${name}`)
  const { exitCode, stderr, result } = await lab.run({
    ...options,
    script: there(script),
    files: Object.fromEntries(files.map((name) => [name, there(name)])),
    onOutput: (text) => say(text.trimEnd()),
  })
  if (exitCode !== 0) throw new Error(stderr)
  return result
}
