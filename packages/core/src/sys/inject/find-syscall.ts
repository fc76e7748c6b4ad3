import { readFileSync, readSync } from 'node:fs'

/** `syscall` */
export const syscallInstruction = Buffer.from('0f05', 'hex')
/** Of one mapping. The vDSO has two pages, musl in Firecracker's code many such instructions. */
const maxCodeBytes = 4 * 2 ** 20

/**
 * The address of a `syscall` instruction in the code of a process, by its open memory: in the vDSO, mostly.
 */
export function findSyscall(pid: number, memory: number): number | undefined {
  const code = readFileSync(`/proc/${pid}/maps`, 'utf8')
    .split('\n')
    .filter((line) => / r-xp /.test(line))
  const first = code.filter((line) => line.endsWith('[vdso]'))
  for (const line of [...first, ...code.filter((line) => !/\[(vdso|vsyscall)\]$/.test(line))]) {
    const [from = 0, to = 0] = (line.split(' ', 1)[0] as string)
      .split('-')
      .map((it) => Number.parseInt(it, 16))
    const bytes = Buffer.allocUnsafe(Math.min(to - from, maxCodeBytes))
    const at = bytes.subarray(0, readSync(memory, bytes, 0, bytes.length, from)).indexOf(syscallInstruction)
    if (at >= 0) return from + at
  }
  return undefined
}
