import { readFileSync } from 'node:fs'

/**
 * musl's `__unmapself`: a thread that Varve starts in a VMM ends by it (docs/notes/ptrace-injection.md).
 * Firecracker's releases have it; builds with glibc do not, and then the pages of a working set are mapped
 * before the guest runs.
 */
const unmapSelf = Buffer.from('b80b0000000f054831ffb83c0000000f05', 'hex')

/** Whether a Firecracker can have a thread that brings pages alongside the guest. */
export function canHaveAlongsideThread(binaryPath: string): boolean {
  return readFileSync(binaryPath).includes(unmapSelf)
}
