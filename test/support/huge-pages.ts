import { readFileSync, writeFileSync } from 'node:fs'

const setting = '/proc/sys/vm/nr_hugepages'
const reserved = () => Number(readFileSync(setting, 'utf8'))

/**
 * Has the host keep so many huge pages of 2 MiB more, for as long as the work lasts. False if it does not,
 * which in CI is a failure: what cannot be tested must not pass.
 */
export async function withHugePages(count: number, work: () => Promise<void>): Promise<boolean> {
  const before = reserved()
  const enough = reserve(before + count)
  const added = reserved() - before
  try {
    if (!enough) {
      const words = `${setting} CANNOT BE RAISED BY ${count}, SO HUGE PAGES CANNOT BE TESTED`
      if (process.env.CI) throw new Error(words)
      process.stderr.write(`${words}\n`)
      return false
    }
    await work()
    return true
  } finally {
    // Another checkout's tests may have had the host keep some more meanwhile.
    reserve(reserved() - added)
  }
}

/** The kernel reserves fewer if memory is too splintered. */
function reserve(count: number): boolean {
  try {
    writeFileSync(setting, String(count))
  } catch {
    // Without the right to.
  }
  return reserved() >= count
}

/** How many of them a process has mapped. */
export function mappedHugePages(pid: number): number {
  const mapped = [
    ...readFileSync(`/proc/${pid}/smaps`, 'utf8').matchAll(/^Size: +(\d+) kB\nKernelPageSize: +2048 kB$/gm),
  ]
  return mapped.reduce((sum, [, kib]) => sum + Number(kib) / 2048, 0)
}
