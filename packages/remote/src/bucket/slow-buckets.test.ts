import { createHash } from 'node:crypto'
import type { ServerResponse } from 'node:http'
import { setTimeout as delay } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { scriptedServer } from '../http/scripted-server.js'
import { openBucket } from './open-bucket.js'

// S3 answers 200 to the end of an upload before it has made the object, and sends spaces meanwhile.

const limits = { idleMs: 300, minBytesPerSecond: 100_000, retryForMs: 1000, firstDelayMs: 5, maxDelayMs: 20 }
const bytes = Buffer.from('a blob of some parts')
const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}` as const
const result = '<CompleteMultipartUploadResult/>'

/** A bucket that has the object once it was asked to complete it, unless it never is `made`. */
async function bucket(complete: (response: ServerResponse, tries: number) => unknown, made = true) {
  let tries = 0
  const server = await scriptedServer((request, response) => {
    const { method, url = '' } = request
    if (method === 'HEAD')
      return response.writeHead(made && tries > 0 ? 200 : 404, { 'content-length': bytes.length }).end()
    if (method === 'PUT') return response.writeHead(200, { etag: '"1"' }).end()
    if (method === 'DELETE') return response.writeHead(204).end()
    if (url.includes('?uploads')) return response.end('<UploadId>1</UploadId>')
    return complete(response, ++tries)
  })
  onTestFinished(() => server[Symbol.asyncDispose]())
  const settings = {
    endpoint: new URL(`http://${server.host}`),
    credential: { accessKeyId: 'known', secretAccessKey: 'the secret' },
  }
  const { blobs } = openBucket(
    { kind: 'bucket', bucket: 'vms', prefix: '' },
    { limits, settings, maxSinglePutBytes: 5 },
  )
  const deleted = () => server.requests.filter(({ line }) => line.startsWith('DELETE')).length
  return { blobs, deleted }
}

test.each<[string, (response: ServerResponse, tries: number) => unknown]>([
  ['comes late', (response) => delay(3 * limits.idleMs).then(() => response.end(result))],
  [
    'comes slowly',
    async (response) => {
      for (let i = 0; i < 8; i++) {
        response.write(' ')
        await delay(100)
      }
      response.end(result)
    },
  ],
  [
    'is lost',
    (response, tries) =>
      tries === 1 ? response.destroy() : response.writeHead(404).end('<Code>NoSuchUpload</Code>'),
  ],
])('a blob is there if the last answer of its upload %s', async (_, complete) => {
  const { blobs, deleted } = await bucket(complete)
  await blobs.put({ digest, sizeBytes: bytes.length }, [bytes])
  expect(deleted()).toBe(0)
})

test('an upload that could not be completed is given up', async () => {
  const failing = (response: ServerResponse) => response.end('<Error><Code>InternalError</Code></Error>')
  const { blobs, deleted } = await bucket(failing, false)
  await expect(blobs.put({ digest, sizeBytes: bytes.length }, [bytes])).rejects.toMatchObject({
    code: 'PLACE_REFUSED',
    message: expect.stringContaining('InternalError'),
  })
  expect(deleted()).toBe(1)
})
