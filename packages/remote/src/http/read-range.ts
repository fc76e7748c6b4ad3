import type { ByteRange, Digest } from 'varve'
import type { HttpRequest, HttpResponse } from './exchange.js'
import { refused, unexpected } from './http-client.js'
import type { HttpLimits } from './limits.js'
import { retrying } from './retry.js'

/**
 * Exactly the bytes of a range, which is within the blob; what a cut connection left out is asked for again.
 * A server that ignores ranges sends all from the beginning: what is before the range is skipped.
 */
export async function readRange(
  { offsetBytes, lengthBytes }: ByteRange,
  get: (
    headers: Readonly<Record<string, string>>,
  ) => Promise<{ response: HttpResponse; request: HttpRequest }>,
  limits: HttpLimits,
  { digest, signal }: { digest: Digest; signal: AbortSignal | undefined },
): Promise<Uint8Array> {
  const bytes = Buffer.allocUnsafe(lengthBytes)
  let filled = 0
  const missing = async () => {
    const first = offsetBytes + filled
    const last = offsetBytes + lengthBytes - 1
    // Compressed on the way, the bytes would be others.
    const { response, request } = await get({
      range: `bytes=${first}-${last}`,
      'accept-encoding': 'identity',
    })
    if (response.status !== 206 && response.status !== 200) throw await unexpected(request, response)
    const stated = /^bytes (\d+)-(\d+)\//.exec(response.header('content-range'))
    if (response.status === 206 && (Number(stated?.[1]) !== first || Number(stated?.[2]) !== last)) {
      response.destroy()
      throw refused(request, `answered with other bytes than ${first} to ${last}`)
    }
    let skip = response.status === 200 ? first : 0
    for await (const piece of response.body) {
      const from = Math.min(skip, piece.length)
      skip -= from
      const taken = piece.subarray(from, from + lengthBytes - filled)
      bytes.set(taken, filled)
      filled += taken.length
      if (filled === lengthBytes) break
    }
    if (filled < lengthBytes)
      throw refused(request, `ended ${lengthBytes - filled} bytes before the end of the range`)
  }
  if (lengthBytes > 0) await retrying(missing, limits, signal, `the reading of ${digest}`)
  return bytes
}
