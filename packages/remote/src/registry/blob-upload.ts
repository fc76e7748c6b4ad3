import { type Digest, isVarveError, VarveError } from 'varve'
import type { HttpRequest, HttpResponse } from '../http/exchange.js'
import { discard, refused, unexpected } from '../http/http-client.js'
import { retrying } from '../http/retry.js'
import type { RegistrySession } from './registry-session.js'

/**
 * What one PATCH carries. It is kept until the registry has it, to be sent again. Large parts are faster: 64
 * MiB in place of 16 MiB made uploads 1.7 times as fast (agent-substrate/substrate#1061); three at once take
 * 96 MiB.
 */
export const defaultChunkBytes = 32 * 1024 * 1024
/** A registry may ask for larger chunks (`OCI-Chunk-Min-Length`), up to this. */
const maxChunkBytes = 128 * 1024 * 1024

/** One upload session of a registry: POST, PATCH…, PUT. What a cut connection left out is sent again. */
export class BlobUpload {
  readonly #session: RegistrySession
  readonly #signal: AbortSignal | undefined
  readonly #chunkBytes: number
  /** Where to go on; each answer may name another place. */
  #location: URL
  #sentBytes = 0
  /** Whether a request failed, so that the registry may have any part of it. */
  #unsure = false
  #isLost = false
  #pieces: Buffer[] = []
  #heldBytes = 0

  private constructor(
    session: RegistrySession,
    location: URL,
    chunk: number,
    signal: AbortSignal | undefined,
  ) {
    this.#session = session
    this.#location = location
    this.#chunkBytes = chunk
    this.#signal = signal
  }

  /** Undefined if the registry took the blob from another repository, so that nothing is to be sent. */
  static async begin(
    session: RegistrySession,
    digest: Digest,
    {
      mountFrom,
      chunkBytes,
      signal,
    }: {
      readonly mountFrom: readonly string[]
      readonly chunkBytes: number
      readonly signal: AbortSignal | undefined
    },
  ): Promise<BlobUpload | undefined> {
    for (const from of [...mountFrom, undefined]) {
      const path = session.url('blobs/uploads/')
      if (from !== undefined) {
        path.searchParams.set('mount', digest)
        path.searchParams.set('from', from)
      }
      const begun = await session
        .request({
          method: 'POST',
          path,
          right: 'push',
          ...(from === undefined ? {} : { alsoPull: from }),
          signal,
        })
        .catch((error: unknown) => {
          // A registry that gives no right to read the other repository refuses the token for both.
          if (from === undefined || !isVarveError(error, 'PLACE_REFUSED')) throw error
        })
      if (begun === undefined) continue
      const { request, response } = begun
      await discard(response)
      if (response.status === 201 && from !== undefined) return undefined
      if (response.status !== 202) {
        // Not readable, or not there: the next one, and in the end the bytes themselves.
        if (from !== undefined) continue
        throw await unexpected(request, response)
      }
      const asked = Number(response.header('oci-chunk-min-length') || 0)
      const chunk = Math.min(Math.max(chunkBytes, Number.isSafeInteger(asked) ? asked : 0), maxChunkBytes)
      const upload = new BlobUpload(session, locationOf(request, response), chunk, signal)
      if (from === undefined || from === mountFrom.at(-1)) return upload
      await upload.cancel()
    }
    throw new Error('unreachable: the last one is undefined')
  }

  /** Takes a piece, and sends what has become a whole chunk. */
  async write(piece: Uint8Array): Promise<void> {
    for (let at = 0; at < piece.length; ) {
      const part = piece.subarray(at, at + this.#chunkBytes - this.#heldBytes)
      // The caller may use its buffer again.
      this.#pieces.push(Buffer.from(part))
      this.#heldBytes += part.length
      at += part.length
      if (this.#heldBytes === this.#chunkBytes) await this.#patch()
    }
  }

  /** Sends the rest, and names the blob: from then on it is there. */
  async finish(digest: Digest): Promise<void> {
    if (this.#sentBytes > 0 && this.#heldBytes > 0) await this.#patch()
    const body = Buffer.concat(this.#pieces)
    const path = new URL(this.#location)
    path.searchParams.set('digest', digest)
    const { request, response } = await this.#session.request({
      method: 'PUT',
      path,
      right: 'push',
      headers: { 'content-type': 'application/octet-stream' },
      body,
      once: true,
      commits: true,
      signal: this.#signal,
    })
    if (response.status !== 201 && response.status !== 204) throw await unexpected(request, response)
    await discard(response)
  }

  /** Gives the session up. A registry that fails now forgets it by itself, some days later. */
  async cancel(): Promise<void> {
    try {
      const { response } = await this.#session.request({
        method: 'DELETE',
        path: this.#location,
        right: 'push',
        once: true,
      })
      await discard(response)
    } catch {
      // The error that led here is the one to report.
    }
  }

  async #patch(): Promise<void> {
    const chunk = Buffer.concat(this.#pieces)
    const end = this.#sentBytes + chunk.length
    const start = this.#sentBytes
    const attempt = async () => {
      // After a failure the registry may have a part of the chunk.
      if (this.#unsure) await this.#askHowFar(start, end)
      if (this.#sentBytes === end || this.#isLost) return
      this.#unsure = true
      const body = chunk.subarray(this.#sentBytes - start)
      const { request, response } = await this.#session.request({
        method: 'PATCH',
        path: this.#location,
        right: 'push',
        headers: {
          'content-type': 'application/octet-stream',
          'content-range': `${this.#sentBytes}-${end - 1}`,
        },
        body,
        once: true,
        signal: this.#signal,
      })
      if (response.status !== 202) throw await unexpected(request, response)
      await discard(response)
      this.#location = locationOf(request, response)
      this.#sentBytes = end
      this.#unsure = false
    }
    await retrying(attempt, this.#session.limits, this.#signal, 'the upload')
    if (this.#isLost)
      throw new VarveError(
        'PLACE_UNREACHABLE',
        `${this.#session.host} forgot an upload that was cut: it must begin again`,
      )
    this.#pieces = []
    this.#heldBytes = 0
  }

  async #askHowFar(start: number, end: number): Promise<void> {
    const { request, response } = await this.#session.request({
      method: 'GET',
      path: this.#location,
      right: 'push',
      signal: this.#signal,
    })
    if (response.status === 404) {
      // docker-registry 2.8 knows only sessions whose last request came to its end.
      await discard(response)
      this.#isLost = true
      return
    }
    if (response.status !== 204 && response.status !== 202) throw await unexpected(request, response)
    await discard(response)
    const last = /^(?:bytes=)?0-(\d+)$/.exec(response.header('range'))?.[1]
    // "0-0" is how registries say that they have nothing, or one byte: then the chunk cannot be cut there.
    const has = last === undefined || last === '0' ? 0 : Number(last) + 1
    if (has < start || has > end)
      throw refused(request, `has ${has} bytes of an upload of which ${start} to ${end} were sent`)
    this.#location = locationOf(request, response)
    this.#sentBytes = has
    this.#unsure = false
  }
}

/** Relative to the request; at another host if the registry says so, which then sees no token. */
function locationOf(request: HttpRequest, response: HttpResponse): URL {
  const location = response.header('location')
  if (!URL.canParse(location, request.url.href)) throw refused(request, 'names no place to upload to')
  const url = new URL(location, request.url)
  if (url.protocol !== request.url.protocol && url.protocol !== 'https:')
    throw refused(request, `wants the upload by ${url.protocol}`)
  return url
}
