import { agentProtocolVersion, frameKind, maxAnswerBytes, maxDataBytes } from './bounds.js'
import { broken } from './fields.js'

/** u32 length, u8 kind, u8 stream, u16 zero. */
const headerBytes = 8
export const preambleBytes = 8

/** What each side sends first. */
export function preamble(version = agentProtocolVersion): Buffer {
  const bytes = Buffer.alloc(preambleBytes)
  bytes.write('VARV', 'latin1')
  bytes.writeUInt16LE(version, 4)
  return bytes
}

/** The version in the other side's first bytes; undefined if they are no such bytes. */
export function versionIn(bytes: Buffer): number | undefined {
  const ours = bytes.toString('latin1', 0, 4) === 'VARV' && bytes.readUInt16LE(6) === 0
  return ours ? bytes.readUInt16LE(4) : undefined
}

export function encodeFrame(kind: number, stream: number, payload: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(headerBytes + payload.length)
  frame.writeUInt32LE(payload.length, 0)
  frame[4] = kind
  frame[5] = stream
  frame.writeUInt16LE(0, 6)
  frame.set(payload, headerBytes)
  return frame
}

/** Is called for each frame, in order. `payload` is only valid during the call. */
export type FrameHandler = (kind: number, stream: number, payload: Buffer) => void

const longest = (kind: number): number => {
  if (kind === frameKind.data) return maxDataBytes
  const ofFields = [frameKind.accepted, frameKind.result, frameKind.fail, frameKind.step] as readonly number[]
  return ofFields.includes(kind) ? maxAnswerBytes : 16
}

/**
 * Cuts what a guest sends into frames. It keeps at most one frame, whose length it checks before it makes
 * room for it.
 */
export class FrameReader {
  readonly #header = Buffer.alloc(headerBytes)
  #headerHas = 0
  #payload: Buffer | undefined
  #payloadHas = 0

  /** Errors: GUEST_PROTOCOL, and what `handle` throws. The reader is of no use after one. */
  push(chunk: Buffer, handle: FrameHandler): void {
    let at = 0
    while (at < chunk.length) {
      if (this.#headerHas < headerBytes) {
        const taken = chunk.copy(this.#header, this.#headerHas, at, at + headerBytes - this.#headerHas)
        this.#headerHas += taken
        at += taken
        if (this.#headerHas < headerBytes) return
      }
      const length = this.#header.readUInt32LE(0)
      const kind = this.#header[4] as number
      if (length > longest(kind)) throw broken(`a frame of kind ${kind} with ${length} bytes`)
      if (this.#header.readUInt16LE(6) !== 0) throw broken('a frame whose header does not end in zero')
      if (this.#payload === undefined && chunk.length - at >= length) {
        this.#headerHas = 0
        handle(kind, this.#header[5] as number, chunk.subarray(at, at + length))
        at += length
        continue
      }
      this.#payload ??= Buffer.allocUnsafe(length)
      const taken = chunk.copy(this.#payload, this.#payloadHas, at, at + length - this.#payloadHas)
      this.#payloadHas += taken
      at += taken
      if (this.#payloadHas < length) return
      const payload = this.#payload
      this.#payload = undefined
      this.#payloadHas = this.#headerHas = 0
      handle(kind, this.#header[5] as number, payload)
    }
  }
}
