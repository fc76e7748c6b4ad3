import { VarveError } from '../errors.js'

declare const unit: unique symbol
type Branded<Name extends string> = number & { readonly [unit]: Name }

/** Page number in memory-file order (not by guest address), from 0. */
export type PageNumber = Branded<'page'>
/** Offset in a file, bytes. */
export type ByteOffset = Branded<'byte-offset'>
/** Guest-physical address, bytes. */
export type GuestAddress = Branded<'guest-address'>

/** Guest page size everywhere in Varve: KVM's dirty log, Firecracker's diffs and mincore count in 4 KiB. */
export const pageSizeBytes = 4096

/** 16 TiB of guest: page numbers fit a Uint32Array and byte offsets a Number. */
export const maxPages = 2 ** 32

/** A safe, non-negative integer below 2^32 pages, else INVALID_ARGUMENT. */
export function pageNumber(value: number): PageNumber {
  if (!Number.isInteger(value) || value < 0 || value >= maxPages)
    throw new VarveError('INVALID_ARGUMENT', `page number ${value} is not an integer in [0, 2^32)`)
  return value as PageNumber
}

/** A safe, non-negative integer, else INVALID_ARGUMENT. */
export function byteOffset(value: number): ByteOffset {
  if (!Number.isSafeInteger(value) || value < 0)
    throw new VarveError('INVALID_ARGUMENT', `byte offset ${value} is not a safe non-negative integer`)
  return value as ByteOffset
}

/** A safe, non-negative integer (x86_64 and aarch64 physical addresses stay below 2^52), else INVALID_ARGUMENT. */
export function guestAddress(value: number): GuestAddress {
  if (!Number.isSafeInteger(value) || value < 0)
    throw new VarveError('INVALID_ARGUMENT', `guest address ${value} is not a safe non-negative integer`)
  return value as GuestAddress
}
