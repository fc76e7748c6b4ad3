import { hashBytes, hexOf } from 'varve/testing'
import { bodyBytes, discard, refused, unexpected } from '../http/http-client.js'
import type { BucketSession } from './bucket-session.js'

/** S3's limits: 10,000 parts of at least 5 MiB, at most 5 GiB. */
const maxParts = 10_000
const minPartBytes = 16 * 1024 * 1024

/** One multipart upload: the object is there once it is completed, and not before. */
export class MultipartUpload {
  readonly #session: BucketSession
  readonly #key: string
  readonly #id: string
  readonly #signal: AbortSignal | undefined
  readonly #etags: string[] = []
  /** Parts that are on their way. */
  readonly #sending = new Set<Promise<void>>()
  #failure: { readonly error: unknown } | undefined

  private constructor(session: BucketSession, key: string, id: string, signal: AbortSignal | undefined) {
    this.#session = session
    this.#key = key
    this.#id = id
    this.#signal = signal
  }

  /**
   * Uploads content of a known size; if that throws at its end, or anything fails, there is no object. If the
   * last answer is lost, `isThere` says whether the object was made.
   */
  static async put(
    session: BucketSession,
    key: string,
    sizeBytes: number,
    content: AsyncIterable<Uint8Array>,
    isThere: () => Promise<boolean>,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { request, response } = await session.request({
      method: 'POST',
      key,
      query: { uploads: '' },
      signal,
    })
    if (response.status !== 200) throw await unexpected(request, response)
    const text = (await bodyBytes(request, response)).toString('utf8')
    const id = /<UploadId>([^<&]{1,1024})<\/UploadId>/.exec(text)?.[1]
    if (id === undefined) throw refused(request, 'began an upload without an id')
    const upload = new MultipartUpload(session, key, id, signal)
    try {
      await upload.#sendAll(content, Math.max(minPartBytes, Math.ceil(sizeBytes / maxParts)))
      await upload.#complete().catch(async (error: unknown) => {
        if (!(await isThere().catch(() => false))) throw error
      })
    } catch (error) {
      await upload.#abort()
      throw error
    }
  }

  async #sendAll(content: AsyncIterable<Uint8Array>, partBytes: number): Promise<void> {
    let part = Buffer.allocUnsafe(partBytes)
    let filled = 0
    for await (const piece of content)
      for (let at = 0; at < piece.length; ) {
        const taken = piece.subarray(at, at + partBytes - filled)
        part.set(taken, filled)
        filled += taken.length
        at += taken.length
        if (filled < partBytes) continue
        await this.#begin(part)
        part = Buffer.allocUnsafe(partBytes)
        filled = 0
      }
    if (filled > 0) await this.#begin(part.subarray(0, filled))
    await Promise.all(this.#sending)
    if (this.#failure !== undefined) throw this.#failure.error
  }

  /** Sends a part alongside the others, once there is room for it. */
  async #begin(body: Buffer): Promise<void> {
    while (this.#sending.size >= this.#session.provider.uploadsAtOnce) await Promise.race(this.#sending)
    if (this.#failure !== undefined) throw this.#failure.error
    const number = this.#etags.push('')
    const sending = this.#send(body, number)
      .catch((error: unknown) => {
        this.#failure ??= { error }
      })
      .finally(() => this.#sending.delete(sending))
    this.#sending.add(sending)
  }

  async #send(body: Buffer, number: number): Promise<void> {
    const { request, response } = await this.#session.request({
      method: 'PUT',
      key: this.#key,
      query: { partNumber: `${number}`, uploadId: this.#id },
      body,
      bodyHex: hexOf(hashBytes(body)),
      signal: this.#signal,
    })
    if (response.status !== 200) throw await unexpected(request, response)
    await discard(response)
    const etag = response.header('etag')
    if (!/^"?[\x21\x23-\x7e]{1,256}"?$/.test(etag)) throw refused(request, 'took a part without an ETag')
    this.#etags[number - 1] = etag
  }

  async #complete(): Promise<void> {
    const parts = this.#etags.map(
      (etag, i) =>
        `<Part><PartNumber>${i + 1}</PartNumber><ETag>${etag.replaceAll('&', '&amp;').replaceAll('<', '&lt;')}</ETag></Part>`,
    )
    const body = Buffer.from(`<CompleteMultipartUpload>${parts.join('')}</CompleteMultipartUpload>`)
    const { request, response } = await this.#session.request({
      method: 'POST',
      key: this.#key,
      query: { uploadId: this.#id },
      headers: { 'content-type': 'application/xml' },
      body,
      bodyHex: hexOf(hashBytes(body)),
      commits: true,
      signal: this.#signal,
    })
    if (response.status !== 200) throw await unexpected(request, response)
    // It begins to answer 200 before it knows: the outcome is in the body.
    const text = (await bodyBytes(request, response)).toString('utf8')
    if (!text.includes('<CompleteMultipartUploadResult'))
      throw refused(
        request,
        `could not complete the upload (${/<Code>([A-Za-z]{1,40})</.exec(text)?.[1] ?? '?'})`,
      )
  }

  async #abort(): Promise<void> {
    await Promise.all(this.#sending)
    try {
      const { response } = await this.#session.request({
        method: 'DELETE',
        key: this.#key,
        query: { uploadId: this.#id },
      })
      await discard(response)
    } catch {
      // The error that led here is the one to report; the bucket's lifecycle rule removes the parts.
    }
  }
}
