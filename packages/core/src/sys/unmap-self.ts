import { readFileSync, readSync } from 'node:fs'

/**
 * musl's __unmapself, with which a detached thread ends: it unmaps what rdi and rsi say, its own
 * stack, and exits; no code of ours could, as it would unmap what it runs in. Firecracker's release
 * binaries are linked with musl.
 *
 * ```
 * b8 0b 00 00 00  mov  eax, SYS_munmap     b8 3c 00 00 00  mov  eax, SYS_exit
 * 0f 05           syscall                  0f 05           syscall
 * 48 31 ff        xor  rdi, rdi
 * ```
 */
const instructions = Buffer.from('b80b0000000f054831ffb83c0000000f05', 'hex')
/** Firecracker's code has 2 MiB. */
const maxCodeBytes = 16 * 2 ** 20

/**
 * Where they are in mapped code, by its file and place; -1 if they are not. To
 * search a Firecracker takes 2 ms.
 */
const known = new Map<string, number>()
const maxKnown = 64

/** Their address in a process, by that process's open memory; undefined if it has none. */
export function findUnmapSelf(pid: number, memory: number): number | undefined {
  const read = (address: number, length: number) => {
    const bytes = Buffer.allocUnsafe(length)
    return bytes.subarray(0, readSync(memory, bytes, 0, length, address))
  }
  for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
    // Range, rights, offset, device and inode: code of a file.
    const [, from, to, file] = /^(\w+)-(\w+) r-xp (\w+ \S+ [1-9]\d*)/.exec(line) ?? []
    if (from === undefined || to === undefined || file === undefined) continue
    const start = Number.parseInt(from, 16)
    const length = Math.min(Number.parseInt(to, 16) - start, maxCodeBytes)
    const at = known.get(file) ?? read(start, length).indexOf(instructions)
    if (known.size < maxKnown) known.set(file, at)
    if (at >= 0 && read(start + at, instructions.length).equals(instructions)) return start + at
    if (at >= 0) known.delete(file)
  }
  return undefined
}
