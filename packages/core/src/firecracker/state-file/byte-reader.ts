import { VarveError } from '../../errors.js'

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * A cursor over the payload of a state file. Every step is checked against the end before a byte is read or
 * allocated, and every failure is a FORMAT_INVALID that names the field and its offset.
 */
export class ByteReader {
  readonly bytes: Uint8Array
  position: number
  readonly #view: DataView

  constructor(bytes: Uint8Array, position = 0) {
    this.bytes = bytes
    this.position = position
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get remaining(): number {
    return this.bytes.length - this.position
  }

  fail(what: string, problem: string, offset = this.position): never {
    throw new VarveError('FORMAT_INVALID', `state file, byte ${offset}: ${what} ${problem}`, {
      details: { offset },
    })
  }

  /** Steps over `count` bytes and gives where they began. */
  #take(count: number, what: string): number {
    if (count > this.remaining) this.fail(what, `needs ${count} bytes, ${this.remaining} are left`)
    const at = this.position
    this.position += count
    return at
  }

  u8(what: string): number {
    return this.#view.getUint8(this.#take(1, what))
  }

  u16(what: string): number {
    return this.#view.getUint16(this.#take(2, what), true)
  }

  u32(what: string): number {
    return this.#view.getUint32(this.#take(4, what), true)
  }

  bigU64(what: string): bigint {
    return this.#view.getBigUint64(this.#take(8, what), true)
  }

  /** A u64 that a Number holds exactly. */
  u64(what: string): number {
    const at = this.position
    const low = this.u32(what)
    const high = this.u32(what)
    if (high > 0x1f_ffff) this.fail(what, 'is beyond 2^53 - 1', at)
    return high * 2 ** 32 + low
  }

  /** A byte that stands for one of `names`. */
  pick<const Name>(names: readonly Name[], value: number, what: string, at: number): Name {
    const name = names[value]
    if (name === undefined) this.fail(what, `${value} is not below ${names.length}`, at)
    return name
  }

  slice(count: number, what: string): Uint8Array {
    const at = this.#take(count, what)
    return this.bytes.subarray(at, at + count)
  }

  text(count: number, what: string): string {
    const at = this.position
    const bytes = this.slice(count, what)
    try {
      return utf8.decode(bytes)
    } catch {
      return this.fail(what, 'is not UTF-8', at)
    }
  }
}
