import { describe, expect, test } from 'vitest'
import type { ConsoleTransport } from './console-transport.js'
import { MicroConsole } from './micro-console.js'

/**
 * Answers that the real guest never gives; what it does give is tested on it.
 * `TAG` is the tag of the command.
 */
function consoleThatHears(...answers: readonly string[]): { console: MicroConsole; sent: string[] } {
  const sent: string[] = []
  const queue = [...answers]
  const transport: ConsoleTransport = {
    write: async (text) => {
      sent.push(text)
    },
    readLine: async ({ signal } = {}) => {
      signal?.throwIfAborted()
      const tag = Number(sent.at(-1)?.slice(1).split(' ')[0] ?? 0)
      const line = queue.shift()
      if (line !== undefined) return line.replace('TAG', `0x${tag.toString(16)}`)
      return new Promise((_, reject) => {
        signal?.addEventListener('abort', () => reject(signal.reason), { once: true })
      })
    },
    [Symbol.asyncDispose]: async () => {},
  }
  return { console: new MicroConsole(transport), sent }
}

const code = (name: string) => expect.objectContaining({ code: name })

describe('answers outside the protocol', () => {
  test.each([
    'TAG ok',
    'TAG ok 0x1',
    'TAG ok 1 2',
    'TAG what',
    'TAG err command',
    'TAG bad',
    '0x0 err numbers',
  ])('"%s" is GUEST_PROTOCOL', async (answer) => {
    const { console } = consoleThatHears(answer)
    await expect(console.write({ start: 512, count: 1 }, 0)).rejects.toThrow(code('GUEST_PROTOCOL'))
  })

  test('lines of other origin and late answers are passed over', async () => {
    const { console, sent } = consoleThatHears('boot noise', '0xffffffffff ok 0x9 0x0', '', 'TAG ok 0x2 0x0')
    expect(await console.write({ start: 512, count: 2 }, 5)).toBe(2)
    expect(sent).toEqual([expect.stringMatching(/^.\d+ write 512 2 1 0 5 1\n$/)])
  })

  test('silence is GUEST_PROTOCOL after the given time, abort is INTERRUPTED', async () => {
    const { console } = consoleThatHears()
    await expect(console.ping({ timeoutMs: 10 })).rejects.toThrow(code('GUEST_PROTOCOL'))
    await expect(console.ping({ signal: AbortSignal.abort() })).rejects.toThrow(code('INTERRUPTED'))
  })

  test('another version in the banner is refused', async () => {
    await expect(consoleThatHears('varve-micro 2 ready 0x10').console.ready()).rejects.toThrow(
      code('GUEST_PROTOCOL'),
    )
    expect(await consoleThatHears('varve-micro 1 ready 0x10').console.ready()).toBe(16)
  })

  test('long lists are cut into lines that the guest takes', async () => {
    const answers = Array.from({ length: 3 }, () => 'TAG ok 0x1 0x3')
    const { console, sent } = consoleThatHears(...answers)
    const pages = Array.from({ length: 1000 }, (_, index) => 1_000_000_000 + index)
    expect(await console.readPages(pages)).toEqual({ count: 3, value: 3n })
    expect(sent.flatMap((line) => line.trim().split(' ').slice(2)).map(Number)).toEqual(pages)
    for (const line of sent) expect(line.length).toBeLessThan(4096)
  })
})
