import { VarveError } from 'varve'
import { maxFields } from './bounds.js'

/** A tag and its value. A number becomes 8 bytes. */
export type Field = readonly [tag: number, value: Uint8Array | string | number | bigint]

/** u16 tag, u16 length, bytes, one field behind the other. */
export function encodeFields(fields: readonly Field[]): Buffer {
  return Buffer.concat(
    fields.flatMap(([tag, value]) => {
      const bytes = bytesOf(value)
      if (bytes.length > 0xffff)
        throw new VarveError('INVALID_ARGUMENT', `a field of ${bytes.length} bytes; the agent takes 65,535`)
      const head = Buffer.alloc(4)
      head.writeUInt16LE(tag, 0)
      head.writeUInt16LE(bytes.length, 2)
      return [head, bytes]
    }),
  )
}

function bytesOf(value: Uint8Array | string | number | bigint): Uint8Array {
  if (typeof value === 'string') return Buffer.from(value)
  if (typeof value === 'object') return value
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(BigInt(value))
  return bytes
}

/**
 * The fields of an answer, which a guest may fill with anything. A value of the wrong form is
 * GUEST_PROTOCOL.
 */
export class AnswerFields {
  readonly #fields: readonly (readonly [number, Buffer])[]

  /** `payload` is copied: it may lie in a buffer that is used again. */
  constructor(payload: Uint8Array) {
    const all = Buffer.from(payload)
    const fields: (readonly [number, Buffer])[] = []
    let at = 0
    while (at < all.length) {
      if (all.length - at < 4) throw broken('a field without a length')
      const length = all.readUInt16LE(at + 2)
      if (all.length - at - 4 < length) throw broken('a field that ends behind its frame')
      if (fields.length === maxFields) throw broken(`more than ${maxFields} fields`)
      fields.push([all.readUInt16LE(at), all.subarray(at + 4, at + 4 + length)])
      at += 4 + length
    }
    this.#fields = fields
  }

  all(tag: number): Buffer[] {
    return this.#fields.filter(([it]) => it === tag).map(([, value]) => value)
  }

  has(tag: number): boolean {
    return this.#fields.some(([it]) => it === tag)
  }

  text(tag: number): string | undefined {
    return this.all(tag)[0]?.toString('utf8')
  }

  number(tag: number): number | undefined {
    const value = this.all(tag)[0]
    return value === undefined ? undefined : numberIn(value)
  }

  /** A number that must be there. */
  required(tag: number, name: string): number {
    const value = this.number(tag)
    if (value === undefined) throw broken(`no ${name}`)
    return value
  }
}

/** A u64 at `at` that JavaScript can count with. */
export function numberIn(value: Buffer, at = 0): number {
  if (value.length < at + 8) throw broken(`a number of ${value.length - at} bytes`)
  const number = value.readBigUInt64LE(at)
  if (number > BigInt(Number.MAX_SAFE_INTEGER)) throw broken(`the number ${number}`)
  return Number(number)
}

/** What a guest sent breaks the protocol. */
export const broken = (what: string) => new VarveError('GUEST_PROTOCOL', `the guest’s agent sent ${what}`)
