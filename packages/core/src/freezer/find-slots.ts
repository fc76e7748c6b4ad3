import { VarveError } from '../errors.js'
import type { MappedRegion } from '../memory/mapped-region.js'
import { pageSizeBytes } from '../memory/units.js'
import { KVM_MEM_LOG_DIRTY_PAGES, KVM_SET_USER_MEMORY_REGION } from '../sys/abi.js'
import { mappingsOf } from '../sys/mappings.js'
import type { ProcessIdentity } from '../sys/proc.js'
import { addressGuesses } from './address-guesses.js'
import { type LayoutRegion, possibleLayouts } from './memory-layouts.js'
import type { Twin } from './twin.js'

/** A slot of KVM, whose memory the VMM has mapped. */
export interface MemorySlot extends MappedRegion {
  readonly slot: number
}

interface GuestMemory {
  readonly memoryBytes: number
  /** Whether KVM logs written pages of this memory, as Firecracker's own configuration says. */
  readonly logged: boolean
}

/**
 * Where guest memory lies in a VMM. Addresses are guessed from its mappings, and KVM confirms them: asked to
 * set a slot to what it is already, it does nothing and says yes; to another address or size it says no
 * (EINVAL), and to a slot that there is not, since the memory has one already (EEXIST). HOST_UNSUPPORTED if
 * not all of it is found.
 */
export function findSlots(
  twin: Twin,
  vmm: ProcessIdentity,
  { memoryBytes, logged }: GuestMemory,
): MemorySlot[] {
  // Those of the VMM, whose pid can be another process's by now.
  const mappings = mappingsOf(twin.identity.pid)
  for (const layout of possibleLayouts(memoryBytes)) {
    const sizes = layout.map(({ sizeBytes }) => sizeBytes)
    const found: MemorySlot[] = []
    let firstPage = 0
    for (const [slot, region] of layout.entries()) {
      const address = confirmed(twin, slot, region, logged, addressGuesses(mappings, sizes, slot))
      if (address === undefined) break
      const pages = region.sizeBytes / pageSizeBytes
      found.push({ slot, address, firstPage, pages })
      firstPage += pages
    }
    if (found.length === layout.length) return found
  }
  throw new VarveError(
    'HOST_UNSUPPORTED',
    `the ${memoryBytes / 2 ** 20} MiB of guest memory are not found in process ${vmm.pid}`,
    { remedy: 'capture it with mode stop' },
  )
}

function confirmed(
  twin: Twin,
  slot: number,
  { guestAddress, sizeBytes }: LayoutRegion,
  logged: boolean,
  guesses: readonly number[],
): number | undefined {
  const structures = guesses.map((address) => {
    // struct kvm_userspace_memory_region: slot, flags; guest_phys_addr, memory_size, userspace_addr.
    const structure = Buffer.alloc(32)
    structure.writeUInt32LE(slot, 0)
    structure.writeUInt32LE(logged ? KVM_MEM_LOG_DIRTY_PAGES : 0, 4)
    structure.writeBigUInt64LE(BigInt(guestAddress), 8)
    structure.writeBigUInt64LE(BigInt(sizeBytes), 16)
    structure.writeBigUInt64LE(BigInt(address), 24)
    return structure
  })
  const results = twin.ioctls(KVM_SET_USER_MEMORY_REGION, structures)
  const index = results.indexOf(0)
  return index < 0 ? undefined : guesses[index]
}
