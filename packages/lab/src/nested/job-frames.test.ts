import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { encodeFrame, FrameDecoder, FrameError, maxBodyBytes } from './job-frames.js'

describe('frames', () => {
  test('come out as they went in, however the stream is cut', () => {
    const frame = fc.record({ path: fc.string(), body: fc.uint8Array({ maxLength: 300 }) })
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 8 }), fc.integer({ min: 1, max: 97 }), (frames, step) => {
        const stream = Buffer.concat(
          frames.map(({ path, body }) => encodeFrame({ type: 'file', job: 1, path }, body)),
        )
        const decoder = new FrameDecoder()
        const got = []
        for (let at = 0; at < stream.length; at += step)
          got.push(...decoder.push(stream.subarray(at, at + step)))
        expect(got.map(({ message, body }) => ({ message, body: [...body] }))).toEqual(
          frames.map(({ path, body }) => ({ message: { type: 'file', job: 1, path }, body: [...body] })),
        )
      }),
    )
  })

  test('a body beyond the cap is not encoded', () => {
    expect(() => encodeFrame({ type: 'result', job: 1 }, Buffer.alloc(maxBodyBytes + 1))).toThrow(FrameError)
  })

  test.each([
    ['a header length beyond the cap', [0xff, 0xff, 0xff, 0x7f, 0, 0, 0, 0]],
    ['a body length beyond the cap', [2, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]],
    ['a header that is not JSON', [2, 0, 0, 0, 0, 0, 0, 0, 0x78, 0x78]],
    ['a header without a type', [2, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7d]],
    ['an empty header', [0, 0, 0, 0, 0, 0, 0, 0]],
  ])('%s is refused', (_, bytes) => {
    expect(() => new FrameDecoder().push(Buffer.from(bytes))).toThrow(FrameError)
  })

  test('any bytes give frames or a FrameError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          new FrameDecoder().push(Buffer.from(bytes))
        } catch (error) {
          expect(error).toBeInstanceOf(FrameError)
        }
      }),
    )
  })
})
