import { VarveError } from '../errors.js'
import type { PageBitmap } from '../memory/page-bitmap.js'
import { KVM_CHECK_EXTENSION, KVM_GET_DIRTY_LOG } from '../sys/abi.js'
import { errnoName } from '../sys/libc.js'
import type { MemorySlot } from './find-slots.js'
import type { Twin } from './twin.js'

/** KVM fills whole 64-bit words, a bit for each page of a slot. */
const bitmapBytesOf = (pages: number) => Math.ceil(pages / 64) * 8

/** Room in the VMM for KVM's log of a guest's memory; to be made before the guest is paused. */
export class DirtyLog {
  readonly #twin: Twin
  readonly #slots: readonly MemorySlot[]
  readonly #address: number
  readonly #bytes: number

  constructor(twin: Twin, slots: readonly MemorySlot[]) {
    this.#twin = twin
    this.#slots = slots
    this.#bytes = slots.reduce((sum, { pages }) => sum + bitmapBytesOf(pages), 0)
    this.#address = twin.map(this.#bytes)
  }

  /**
   * The pages that the guest has written since the log was last taken, by page of the memory file. Clears it.
   */
  take(): PageBitmap {
    return this.#ask(KVM_GET_DIRTY_LOG)
  }

  /** All that `take` does, but for the question to KVM: nothing is cleared. */
  rehearse(): PageBitmap {
    return this.#ask(KVM_CHECK_EXTENSION)
  }

  #ask(request: number): PageBitmap {
    let at = this.#address
    const structures = this.#slots.map(({ slot, pages }) => {
      // struct kvm_dirty_log: slot, padding; the address of the bitmap.
      const structure = Buffer.alloc(16)
      structure.writeUInt32LE(slot, 0)
      structure.writeBigUInt64LE(BigInt(at), 8)
      at += bitmapBytesOf(pages)
      return structure
    })
    const results = this.#twin.ioctls(request, structures)
    const failed = results.findIndex((result) => result !== 0)
    if (failed >= 0)
      throw new VarveError(
        'INJECTION_FAILED',
        `KVM_GET_DIRTY_LOG of slot ${this.#slots[failed]?.slot} failed with ${errnoName(-(results[failed] as number))}`,
      )
    return this.#bitmap()
  }

  /** Slots follow each other in the memory file, and all but the last have a whole number of words. */
  #bitmap(): PageBitmap {
    const bytes = this.#twin.read(this.#address, this.#bytes)
    return { first: 0, words: new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4) }
  }

  free(): void {
    this.#twin.free(this.#address, this.#bytes)
  }
}
