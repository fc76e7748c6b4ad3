import { type SourceOptions, throwIfAborted } from 'varve'
import { bodyBytes, refused, unexpected } from '../http/http-client.js'
import type { BucketSession } from './bucket-session.js'

/** 1,000 keys of 1,024 bytes each are the most of one page. */
const maxPages = 100_000

/** The keys that begin with `prefix`, without the place's own prefix, in no order. */
export async function* listObjects(
  session: BucketSession,
  prefix: string,
  { signal }: SourceOptions = {},
): AsyncGenerator<string> {
  const start = session.fullKey('')
  let token: string | undefined
  for (let page = 0; page < maxPages; page++) {
    throwIfAborted(signal, `the list of ${session.bucket}`)
    const { request, response } = await session.request({
      method: 'GET',
      query: {
        'list-type': '2',
        prefix: session.fullKey(prefix),
        ...(token === undefined ? {} : { 'continuation-token': token }),
      },
      signal,
    })
    if (response.status !== 200) throw await unexpected(request, response)
    const text = (await bodyBytes(request, response)).toString('utf8')
    if (!/<ListBucketResult[\s>]/.test(text)) throw refused(request, 'answered without a ListBucketResult')
    for (const [, escaped] of text.matchAll(/<Key>([^<]*)<\/Key>/g)) {
      const key = unescaped(escaped as string)
      if (!key.startsWith(session.fullKey(prefix))) throw refused(request, 'listed a key of another prefix')
      yield key.slice(start.length)
    }
    if (!/<IsTruncated>\s*true\s*<\/IsTruncated>/.test(text)) return
    const next = /<NextContinuationToken>([^<]*)<\/NextContinuationToken>/.exec(text)?.[1]
    if (next === undefined || next === token) throw refused(request, 'listed a page without an end')
    token = unescaped(next)
  }
}

const entities: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

const unescaped = (text: string) =>
  text.replace(/&(?:(amp|lt|gt|quot|apos)|#(\d{1,7})|#x([0-9a-fA-F]{1,6}));/g, (_, name, decimal, hex) =>
    name !== undefined
      ? (entities[name] as string)
      : String.fromCodePoint(Math.min(0x10ffff, decimal !== undefined ? Number(decimal) : parseInt(hex, 16))),
  )
