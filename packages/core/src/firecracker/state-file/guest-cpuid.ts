import { crcBytes } from './crc64.js'
import { readIfKnown } from './path-strings.js'
import type { StateFile } from './read-state-file.js'

/** What a vCPU is told for one leaf and sub-leaf: struct kvm_cpuid_entry2 of asm/kvm.h, without its flags. */
export interface CpuidEntry {
  readonly leaf: number
  readonly subleaf: number
  readonly eax: number
  readonly ebx: number
  readonly ecx: number
  readonly edx: number
}

/** EBX, EDX and ECX of leaf 0 spell the name; the entry has them in the order EBX, ECX, EDX. */
const cpuVendors = ['GenuineIntel', 'AuthenticAMD', 'HygonGenuine', 'CentaurHauls'] as const
const inEntryOrder = (vendor: string): Buffer =>
  Buffer.from(vendor.slice(0, 4) + vendor.slice(8) + vendor.slice(4, 8), 'latin1')

/** KVM_MAX_CPUID_ENTRIES: KVM refuses a longer list. */
const maxEntries = 256
/** Firecracker's most vCPUs, each of which has a list. */
export const maxVcpus = 32

const entryBytes = 40
/** Each entry is a byte string: its length as a u64, then the struct. */
const strideBytes = 8 + entryBytes
/** From the length of kvm_cpuid2's header to the first entry's length: u64 8 | u32 n, u32 0 | u64 n. */
const headBytes = 24
/** Of EBX in an entry: leaf, sub-leaf, flags and EAX stand before it. */
const ebxOffset = 16

/**
 * The CPUID of each vCPU, as bincode has it behind the memory regions: found by the shape of a list that
 * begins with leaf 0 of a known vendor, without decoding what is around it. None found is an empty list.
 * Undefined if entries are not kept so (bitcode, from Firecracker 1.15 on), for aarch64, and for versions
 * that are not known. Errors: those of `readStateFile` for damaged files.
 */
export function guestCpuid(
  stateFile: Buffer,
  state: StateFile | undefined = readIfKnown(stateFile),
): readonly (readonly CpuidEntry[])[] | undefined {
  if (state?.encoding !== 'bincode' || state.arch !== 'x86_64') return undefined
  const bytes = stateFile.subarray(state.regionList.end, stateFile.length - crcBytes)
  const found: (readonly CpuidEntry[])[] = []
  for (const vendor of cpuVendors.map(inEntryOrder))
    for (let at = bytes.indexOf(vendor); at >= 0 && found.length < maxVcpus; ) {
      const list = listAt(bytes, at - ebxOffset - 8)
      if (list !== undefined) found.push(list)
      at = bytes.indexOf(vendor, at + (list === undefined ? 1 : list.length * strideBytes))
    }
  return found
}

/** `start`: of the first entry's length. A list of another shape is none. */
function listAt(bytes: Buffer, start: number): readonly CpuidEntry[] | undefined {
  const head = start - headBytes
  if (head < 0) return undefined
  const count = bytes.readUInt32LE(head + 8)
  if (count < 1 || count > maxEntries || start + count * strideBytes > bytes.length) return undefined
  if (u64(bytes, head) !== 8 || bytes.readUInt32LE(head + 12) !== 0 || u64(bytes, head + 16) !== count)
    return undefined
  const entries: CpuidEntry[] = []
  for (let at = start; at < start + count * strideBytes; at += strideBytes) {
    if (u64(bytes, at) !== entryBytes) return undefined
    const [leaf, subleaf, , eax, ebx, ecx, edx, ...padding] = Array.from(
      { length: entryBytes / 4 },
      (_, word) => bytes.readUInt32LE(at + 8 + 4 * word),
    ) as [number, number, number, number, number, number, number, ...number[]]
    if (padding.some((word) => word !== 0)) return undefined
    entries.push({ leaf, subleaf, eax, ebx, ecx, edx })
  }
  const [first] = entries
  return first?.leaf === 0 && first.subleaf === 0 ? entries : undefined
}

/** -1 if the upper half is set: no length or count here is so large. */
const u64 = (bytes: Buffer, at: number): number =>
  bytes.readUInt32LE(at + 4) === 0 ? bytes.readUInt32LE(at) : -1

/** As leaf 0 spells it. */
export function vendorOfCpuid([first]: readonly CpuidEntry[]): string {
  const name = Buffer.alloc(12)
  for (const [i, word] of [first?.ebx ?? 0, first?.edx ?? 0, first?.ecx ?? 0].entries())
    name.writeUInt32LE(word, 4 * i)
  return name.toString('latin1')
}
