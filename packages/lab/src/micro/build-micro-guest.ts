import { elfExecutable } from './elf.js'
import { assembleGuestProgram } from './guest-program.js'

/** The micro guest as an ELF "kernel" for Firecracker: the same bytes at each call, about 8 KiB. */
export function buildMicroGuest(): Uint8Array {
  const { bytes, entry } = assembleGuestProgram()
  return elfExecutable({ entry, address: entry, bytes, memoryBytes: bytes.length })
}
