import { VarveError } from '../errors.js'

declare const unit: unique symbol
type Branded<Name extends string> = number & { readonly [unit]: Name }

/** Offset in a file, bytes. */
export type ByteOffset = Branded<'byte-offset'>
/** Guest-physical address, bytes. */
export type GuestAddress = Branded<'guest-address'>

/** Guest page size everywhere in Varve: KVM's dirty log, Firecracker's diffs and mincore count in 4 KiB. */
export const pageSizeBytes = 4096

/** A huge page, the unit in which the kernel brings guest memory that is on hugetlbfs. */
export const hugePageBytes = 2 ** 21
/** The same in pages. */
export const framePages = hugePageBytes / pageSizeBytes

/** A safe, non-negative integer, else INVALID_ARGUMENT. */
export function byteOffset(value: number): ByteOffset {
  if (!Number.isSafeInteger(value) || value < 0)
    throw new VarveError('INVALID_ARGUMENT', `byte offset ${value} is not a safe non-negative integer`)
  return value as ByteOffset
}

/**
 * A safe, non-negative integer (x86_64 and aarch64 physical addresses stay
 * below 2^52), else INVALID_ARGUMENT.
 */
export function guestAddress(value: number): GuestAddress {
  if (!Number.isSafeInteger(value) || value < 0)
    throw new VarveError('INVALID_ARGUMENT', `guest address ${value} is not a safe non-negative integer`)
  return value as GuestAddress
}

/** Whole MiB, for messages. (`>> 20` is wrong from 2 GiB on: it sees 32 bits.) */
export const wholeMib = (bytes: number): number => Math.floor(bytes / 2 ** 20)
