/**
 * A frame that breaks the rules below. Not a VarveError: the runner loads this file too, and `varve` with all
 * its modules takes seconds to load under emulation. The lab's host side makes a LAB_FAILED of it.
 */
export class FrameError extends Error {}

/**
 * Messages between the lab's host side and the runner inside, over one virtio-serial port:
 *
 *     u32 LE  length of the header
 *     u32 LE  length of the body
 *     header  JSON, one `Message`
 *     body    raw bytes (a piece of a file or of output)
 */
export type Message =
  // to the runner
  /** Appends the body to a file of the job's folder. */
  | { readonly type: 'put'; readonly job: number; readonly path: string; readonly executable: boolean }
  | {
      readonly type: 'start'
      readonly job: number
      readonly args: readonly string[]
      readonly env: Readonly<Record<string, string>>
    }
  | { readonly type: 'kill'; readonly job: number }
  // from the runner
  | { readonly type: 'hello'; readonly kernel: string; readonly node: string; readonly kvm: boolean }
  | { readonly type: 'output'; readonly job: number; readonly stream: 'stdout' | 'stderr' }
  /** The body is a piece of the JSON that the script wrote. */
  | { readonly type: 'result'; readonly job: number }
  /** The body is the next piece of a file that the script left. */
  | { readonly type: 'file'; readonly job: number; readonly path: string }
  /** The last message of a job. `exitCode` is null if a signal ended the script. */
  | {
      readonly type: 'done'
      readonly job: number
      readonly exitCode: number | null
      readonly signal: string | null
      /** Set if the runner itself failed. */
      readonly error?: string
    }

export interface Frame {
  readonly message: Message
  readonly body: Buffer
}

/** Files are cut into pieces of at most this much, so that neither side holds a large file in memory. */
export const maxBodyBytes = 256 * 1024
const maxHeaderBytes = 1024 * 1024
const prefixBytes = 8
const noBytes = Buffer.alloc(0)

export function encodeFrame(message: Message, body: Uint8Array = noBytes): Buffer {
  const header = Buffer.from(JSON.stringify(message), 'utf8')
  if (header.length > maxHeaderBytes || body.length > maxBodyBytes)
    throw new FrameError(
      `a ${message.type} message of ${header.length} + ${body.length} bytes exceeds ${maxHeaderBytes} + ${maxBodyBytes}`,
    )
  const prefix = Buffer.alloc(prefixBytes)
  prefix.writeUInt32LE(header.length, 0)
  prefix.writeUInt32LE(body.length, 4)
  return Buffer.concat([prefix, header, body])
}

/** Cuts a byte stream into frames, whatever the pieces it comes in. */
export class FrameDecoder {
  #chunks: Buffer[] = []
  #bytes = 0

  push(chunk: Buffer): Frame[] {
    const frames: Frame[] = []
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    while (this.#bytes >= prefixBytes) {
      const prefix = this.#peek(prefixBytes)
      const headerBytes = prefix.readUInt32LE(0)
      const bodyBytes = prefix.readUInt32LE(4)
      if (headerBytes > maxHeaderBytes || bodyBytes > maxBodyBytes)
        throw new FrameError(`frame of ${headerBytes} + ${bodyBytes} bytes is out of bounds`)
      const total = prefixBytes + headerBytes + bodyBytes
      if (this.#bytes < total) break
      const frame = this.#peek(total)
      this.#chunks = [(this.#chunks[0] as Buffer).subarray(total)]
      this.#bytes -= total
      const body = frame.subarray(prefixBytes + headerBytes)
      const header = frame.toString('utf8', prefixBytes, prefixBytes + headerBytes)
      frames.push({ message: parseMessage(header), body })
    }
    return frames
  }

  /** The first bytes as one buffer; joins chunks only when they are needed. */
  #peek(count: number): Buffer {
    if ((this.#chunks[0] as Buffer).length < count) this.#chunks = [Buffer.concat(this.#chunks)]
    return (this.#chunks[0] as Buffer).subarray(0, count)
  }
}

function parseMessage(text: string): Message {
  try {
    const value: unknown = JSON.parse(text)
    if (typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string')
      return value as Message
  } catch (cause) {
    throw new FrameError(`frame header is not JSON: ${text.slice(0, 100)}`, { cause })
  }
  throw new FrameError(`frame header names no type: ${text.slice(0, 100)}`)
}
