import { VarveError } from 'varve'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { createOutput } from './output.js'

let stdout = ''
let stderr = ''
const output = createOutput({
  stdout: {
    write: (text) => {
      stdout += text
    },
  },
  stderr: {
    write: (text) => {
      stderr += text
    },
  },
})
beforeEach(() => {
  stdout = ''
  stderr = ''
})

test('results go to stdout, talk to stderr', () => {
  output.print('result')
  output.printJson({ a: [1] })
  output.say('talk')
  expect(stdout).toBe('result\n{\n  "a": [\n    1\n  ]\n}\n')
  expect(stderr).toBe('talk\n')
})

describe('failures', () => {
  test('what a message quotes cannot take over the terminal; its lines stay lines', () => {
    const remedy = 'use \u009b2Jthis'
    output.fail(new VarveError('FORMAT_INVALID', 'bad \x1b]0;owned\x07\nname', { remedy }), false)
    expect(stderr).toBe('varve: bad \\u{1b}]0;owned\\u{7}\nname [FORMAT_INVALID]\n  try: use \\u{9b}2Jthis\n')
  })

  const error = new VarveError('NOT_FOUND', 'no snapshot "x"', {
    remedy: 'varve snapshot ls',
    details: { ref: 'x' },
  })

  test('for people: message, code, remedy', () => {
    output.fail(error, false)
    expect(stderr).toBe('varve: no snapshot "x" [NOT_FOUND]\n  try: varve snapshot ls\n')
    expect(stdout).toBe('')
  })

  test('for programs: one line of JSON', () => {
    output.fail(error, true)
    expect(JSON.parse(stderr)).toEqual({
      error: {
        code: 'NOT_FOUND',
        message: 'no snapshot "x"',
        remedy: 'varve snapshot ls',
        details: { ref: 'x' },
      },
    })
    expect(stderr.trimEnd()).not.toContain('\n')
  })

  test('a bug shows where it is', () => {
    const bug = new TypeError('not a function')
    output.fail(bug, false)
    expect(stderr).toBe(`varve: ${bug.stack}\n`)
    stderr = ''
    output.fail(bug, true)
    expect(JSON.parse(stderr).error).toEqual({ code: 'UNEXPECTED', message: 'TypeError: not a function' })
  })
})

describe('progress', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  /** Work that ends when it is told to. */
  function work() {
    let update: (detail: string) => void = () => {}
    let end: (value: string) => void = () => {}
    const done = output.progress('packing', (given) => {
      update = given
      return new Promise<string>((resolve) => {
        end = resolve
      })
    })
    return { done, update: (text: string) => update(text), end: (value: string) => end(value) }
  }

  test('work of less than a second is not talked about', async () => {
    const { done, update, end } = work()
    update('3 of 4 pages')
    await vi.advanceTimersByTimeAsync(999)
    end('result')
    expect(await done).toBe('result')
    await vi.advanceTimersByTimeAsync(10_000)
    expect(stderr).toBe('')
  })

  test('longer work is, with its last detail, until it ends', async () => {
    const { done, update, end } = work()
    await vi.advanceTimersByTimeAsync(1000)
    expect(stderr).toBe('packing: 1 s\n')
    update('1 of 4 pages')
    update('2 of 4 pages')
    await vi.advanceTimersByTimeAsync(2000)
    expect(stderr).toBe('packing: 1 s\npacking: 3 s, 2 of 4 pages\n')
    end('')
    await done
    await vi.advanceTimersByTimeAsync(10_000)
    expect(stderr.split('\n')).toHaveLength(3)
    expect(stdout).toBe('')
  })

  test('work that fails ends it too', async () => {
    const failing = output.progress('packing', () => Promise.reject(new Error('full')))
    await expect(failing).rejects.toThrow('full')
    await vi.advanceTimersByTimeAsync(10_000)
    expect(stderr).toBe('')
  })
})

describe('on a terminal', () => {
  const terminal = (env: NodeJS.ProcessEnv = {}, columns = 80) => {
    let written = ''
    const stream = {
      isTTY: true,
      columns,
      write: (text: string) => {
        written += text
      },
    }
    const piped = { write: () => {} }
    const output = createOutput({ stdout: stream, stderr: stream }, env)
    return { output, toPipe: createOutput({ stdout: piped, stderr: piped }, env), written: () => written }
  }
  const error = new VarveError('NOT_FOUND', 'no snapshot')

  test('results and failures have colours; not in a pipe, and not with NO_COLOR', () => {
    const { output, toPipe, written } = terminal()
    expect(output.paint('green', 'ok')).toBe('\x1b[32mok\x1b[39m')
    expect(toPipe.paint('green', 'ok')).toBe('ok')
    output.fail(error, false)
    expect(written()).toBe('\x1b[31mvarve:\x1b[39m no snapshot [NOT_FOUND]\n')
    for (const env of [{ NO_COLOR: '1' }, { TERM: 'dumb' }])
      expect(terminal(env).output.paint('red', 'x')).toBe('x')
    expect(terminal({ NO_COLOR: '' }).output.paint('red', 'x')).not.toBe('x')
  })

  test('progress is one line, written over, cut to the width, and gone at the end', async () => {
    vi.useFakeTimers()
    try {
      const { output, written } = terminal({}, 40)
      let update: (detail: string) => void = () => {}
      let end: (value: unknown) => void = () => {}
      const done = output.progress('packing', (given) => {
        update = given
        return new Promise((resolve) => {
          end = resolve
        })
      })
      update('0 of 2560 pages')
      await vi.advanceTimersByTimeAsync(1000)
      update('256 of 2560 pages')
      await vi.advanceTimersByTimeAsync(250)
      output.say('a word')
      end(undefined)
      await done
      expect(written()).toBe(
        '\r\x1b[Kpacking: 1 s, 0 of 2560 pages' +
          '\r\x1b[Kpacking: 1 s, 256 of 2560 pages, 1.0 M…' +
          '\r\x1b[Ka word\n',
      )
    } finally {
      vi.useRealTimers()
    }
  })
})
