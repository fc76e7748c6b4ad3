import { VarveError } from 'varve'
import { maxAgentBytes, maxAgentHeaderBytes } from './agent-bounds.js'

/** docs/formats/agent-protocol.md */

export interface AgentFrame {
  readonly header: Readonly<Record<string, unknown>>
  readonly body: Buffer
}

const prefixBytes = 8

export function encodeAgentFrame(header: Readonly<Record<string, unknown>>, body: Uint8Array): Buffer {
  const text = Buffer.from(JSON.stringify(header), 'utf8')
  if (text.length > maxAgentHeaderBytes || body.length > maxAgentBytes)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `a request of ${text.length} + ${body.length} bytes exceeds ${maxAgentHeaderBytes} + ${maxAgentBytes}`,
    )
  const prefix = Buffer.alloc(prefixBytes)
  prefix.writeUInt32LE(text.length, 0)
  prefix.writeUInt32LE(body.length, 4)
  return Buffer.concat([prefix, text, body])
}

/**
 * Collects one frame from the pieces it comes in. Errors: GUEST_PROTOCOL, as
 * soon as it cannot become a frame.
 */
export class AgentFrameReader {
  readonly #chunks: Buffer[] = []
  #bytes = 0
  #lengths: { readonly header: number; readonly body: number } | undefined

  /** The frame, when it is whole; undefined until then. */
  push(chunk: Buffer): AgentFrame | undefined {
    this.#chunks.push(chunk)
    this.#bytes += chunk.length
    if (this.#bytes < prefixBytes) return undefined
    this.#lengths ??= lengths(this.#joined())
    const { header, body } = this.#lengths
    const total = prefixBytes + header + body
    if (this.#bytes < total) return undefined
    if (this.#bytes > total) throw broken(`${this.#bytes - total} bytes behind the reply`)
    const whole = this.#joined()
    const bodyAt = prefixBytes + header
    return { header: parseHeader(whole.toString('utf8', prefixBytes, bodyAt)), body: whole.subarray(bodyAt) }
  }

  #joined(): Buffer {
    if (this.#chunks.length > 1) this.#chunks.splice(0, this.#chunks.length, Buffer.concat(this.#chunks))
    return this.#chunks[0] as Buffer
  }
}

const broken = (message: string) => new VarveError('GUEST_PROTOCOL', message)

function lengths(bytes: Buffer): { header: number; body: number } {
  const header = bytes.readUInt32LE(0)
  const body = bytes.readUInt32LE(4)
  if (header < 2 || header > maxAgentHeaderBytes || body > maxAgentBytes)
    throw broken(`not a reply: lengths ${header} and ${body} are out of bounds`)
  return { header, body }
}

function parseHeader(text: string): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw new VarveError('GUEST_PROTOCOL', `the reply’s header is not JSON: ${text.slice(0, 100)}`, { cause })
  }
  if (typeof value === 'object' && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>
  throw broken(`the reply’s header is no object: ${text.slice(0, 100)}`)
}
