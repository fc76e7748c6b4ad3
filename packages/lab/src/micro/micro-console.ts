import { randomInt } from 'node:crypto'
import { throwIfAborted, VarveError, type VmmPaths } from 'varve'
import { type ConsoleTransport, FileTailTransport } from './console-transport.js'
import { cancelByte } from './guest-console.js'
import {
  checkedPattern,
  checkedSeed,
  decodePageWord,
  type TouchPattern,
  type WordCount,
  wordsPerPage,
} from './patterns.js'

export interface ConsoleCallOptions {
  readonly signal?: AbortSignal | undefined
  /** Default: 10 s and a generous allowance for each page and word. */
  readonly timeoutMs?: number
}

/** The guest's view of its memory, in pages. */
export interface MicroMemory {
  /** Pages that commands may name are 512 up to this. */
  readonly pages: number
  /** The first page that lies above the gap below 4 GiB; `pages` if none does. */
  readonly split: number
  /** What such a page's guest frame number is higher than its page number. */
  readonly gap: number
}

/**
 * What a pass over pages found: how many it touched, and the exclusive or (or the sum) of the words it read.
 */
export interface PassResult {
  readonly count: number
  readonly value: bigint
}

const cancel = String.fromCharCode(cancelByte)
const callTimeoutMs = 10_000
/** Measured: 5–25 µs a page, 0.7–1 µs a word. Twenty times that, so that only a hung guest runs into it. */
const pageTimeoutMs = 0.5
const wordTimeoutMs = 0.02
/** Of a list command: the line stays below the guest's 4,095 bytes with ten-digit page numbers. */
const maxListed = 360
/** Lines that belong to no call of ours: what Firecracker or an earlier console left in the file. */
const maxForeignLines = 100_000

/**
 * Commands to a micro guest, one at a time; calls made meanwhile wait their turn. Page numbers are in
 * memory-file order; the guest itself knows about the gap below 4 GiB. Errors: GUEST_PROTOCOL (no or a wrong
 * answer), INVALID_ARGUMENT (the guest refused the pages), GUEST_MEMORY (`verify`), MACHINE_EXITED. Works the
 * same on a restored guest: make a new console for the new VMM.
 */
export class MicroConsole implements AsyncDisposable {
  readonly #transport: ConsoleTransport
  /** A file may hold an earlier console's replies, so tags begin anywhere. */
  #tag = randomInt(1, 2 ** 31)
  #turn: Promise<unknown> = Promise.resolve()

  /** Takes over the transport and closes it. */
  constructor(transport: ConsoleTransport) {
    this.#transport = transport
  }

  /** A console on the serial port of a VM. */
  static attach(paths: Pick<VmmPaths, 'consoleInput' | 'consoleOutput'>): MicroConsole {
    return new MicroConsole(
      new FileTailTransport({ fifoPath: paths.consoleInput, logPath: paths.consoleOutput }),
    )
  }

  /**
   * Waits for the banner of a booting guest, which comes once; resolves with its pages. Not after a restore.
   */
  ready(options: ConsoleCallOptions = {}): Promise<number> {
    return this.#exclusive('banner', callTimeoutMs, options, async (signal) => {
      const words = await this.#lineThat(signal, (line) => line.startsWith('varve-micro '))
      if (words[1] !== '1')
        throw new VarveError('GUEST_PROTOCOL', `the micro guest speaks version ${words[1]}, not 1`)
      return Number(hex(words[3], words))
    })
  }

  async ping(options: ConsoleCallOptions = {}): Promise<void> {
    await this.#command('ping', 0, options)
  }

  async memory(options: ConsoleCallOptions = {}): Promise<MicroMemory> {
    const answer = await this.#command('memory', 0, options)
    const [pages, split, gap] = [0, 1, 2].map((index) => Number(hex(answer[index], answer)))
    return { pages: pages as number, split: split as number, gap: gap as number }
  }

  /** Whole pages with their word, see `expectedPage`; resolves with the count. */
  fill(run: TouchPattern, seed: number, options: ConsoleCallOptions = {}): Promise<number> {
    return this.write(run, seed, { words: wordsPerPage, ...options })
  }

  /** The page's word at `words` places (default one, at its beginning); resolves with the count. */
  async write(
    pattern: TouchPattern,
    seed: number,
    options: ConsoleCallOptions & { readonly words?: WordCount } = {},
  ): Promise<number> {
    const { words = 1 } = options
    const text = `write ${numbers(pattern)} ${checkedSeed(seed)} ${words}`
    return (await this.#pass(text, duration(pattern.count, words), options)).count
  }

  /** Zeroes whole pages; resolves with the count. */
  async zero(pattern: TouchPattern, options: ConsoleCallOptions = {}): Promise<number> {
    return (await this.#pass(`zero ${numbers(pattern)}`, duration(pattern.count, wordsPerPage), options))
      .count
  }

  /** Reads the first word of each page; the value is their exclusive or. */
  read(pattern: TouchPattern, options: ConsoleCallOptions = {}): Promise<PassResult> {
    return this.#pass(`read ${numbers(pattern)}`, duration(pattern.count, 1), options)
  }

  /**
   * Reads all words of each page; the value is `sumOfPages`. About 2 ms a page if instructions are emulated.
   */
  sum(pattern: TouchPattern, options: ConsoleCallOptions = {}): Promise<PassResult> {
    return this.#pass(`sum ${numbers(pattern)}`, duration(pattern.count, 4 * wordsPerPage), options)
  }

  /**
   * Checks `words` words of each page (default all 512) against what `write` with this seed puts
   * there; resolves with the count. The first wrong one is GUEST_MEMORY, whose details say where it
   * is and whose content is there.
   */
  async verify(
    pattern: TouchPattern,
    seed: number,
    options: ConsoleCallOptions & { readonly words?: WordCount } = {},
  ): Promise<number> {
    const { words = wordsPerPage } = options
    const text = `verify ${numbers(pattern)} ${checkedSeed(seed)} ${words}`
    return (await this.#pass(text, duration(pattern.count, words), options)).count
  }

  /** Reads the first word of each listed page, in this order. */
  async readPages(pages: readonly number[], options: ConsoleCallOptions = {}): Promise<PassResult> {
    let result: PassResult = { count: 0, value: 0n }
    for (const part of parts(pages)) {
      const { count, value } = await this.#pass(`readat ${part.join(' ')}`, duration(part.length, 1), options)
      result = { count: result.count + count, value: result.value ^ value }
    }
    return result
  }

  /** Writes the first word of each listed page, in this order; resolves with the count. */
  async writePages(
    pages: readonly number[],
    seed: number,
    options: ConsoleCallOptions = {},
  ): Promise<number> {
    let written = 0
    for (const part of parts(pages)) {
      const text = `writeat ${checkedSeed(seed)} ${part.join(' ')}`
      written += (await this.#pass(text, duration(part.length, 1), options)).count
    }
    return written
  }

  /** Ends the VM, and with it its VMM. */
  async exit(options: ConsoleCallOptions = {}): Promise<void> {
    await this.#command('exit', 0, options)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#transport[Symbol.asyncDispose]()
  }

  async #pass(text: string, allowanceMs: number, options: ConsoleCallOptions): Promise<PassResult> {
    const answer = await this.#command(text, allowanceMs, options)
    return { count: Number(hex(answer[0], answer)), value: hex(answer[1], answer) }
  }

  #command(text: string, allowanceMs: number, options: ConsoleCallOptions): Promise<readonly string[]> {
    return this.#exclusive(text, callTimeoutMs + allowanceMs, options, async (signal) => {
      const tag = this.#tag++
      await this.#transport.write(`${cancel}${tag} ${text}\n`, { signal })
      const mine = `0x${tag.toString(16)} `
      // Tag 0 is the guest's answer to a line whose own tag it could not read.
      const words = await this.#lineThat(signal, (line) => line.startsWith(mine) || line.startsWith('0x0 '))
      return answerTo(text, words.slice(1))
    })
  }

  async #lineThat(signal: AbortSignal, fits: (line: string) => boolean): Promise<string[]> {
    for (let skipped = 0; skipped < maxForeignLines; skipped++) {
      const line = await this.#transport.readLine({ signal })
      if (fits(line)) return line.split(' ')
    }
    throw new VarveError('GUEST_PROTOCOL', `no answer among ${maxForeignLines} console lines`)
  }

  #exclusive<T>(
    text: string,
    defaultTimeoutMs: number,
    options: ConsoleCallOptions,
    run: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const result = this.#turn.then(async () => {
      const { signal, timeoutMs = defaultTimeoutMs } = options
      const timeout = AbortSignal.timeout(Math.ceil(timeoutMs))
      try {
        return await run(signal === undefined ? timeout : AbortSignal.any([timeout, signal]))
      } catch (error) {
        if (error instanceof VarveError) throw error
        const what = `micro guest, ${text.slice(0, 80)}`
        throwIfAborted(signal, what)
        throw new VarveError('GUEST_PROTOCOL', `${what}: no answer within ${timeoutMs} ms`, { cause: error })
      }
    })
    this.#turn = result.catch(() => {})
    return result
  }
}

/** The numbers of an `ok`; `bad` and `err` become errors. */
function answerTo(text: string, words: readonly string[]): readonly string[] {
  const [kind, ...rest] = words
  if (kind === 'ok') return rest
  if (kind === 'bad') throw mismatch(rest)
  const reason = words.join(' ')
  const refused = kind === 'err' && rest[0] === 'range'
  throw new VarveError(
    refused ? 'INVALID_ARGUMENT' : 'GUEST_PROTOCOL',
    `micro guest answered "${reason}" to "${text.slice(0, 80)}"`,
    refused ? { remedy: 'name pages from 512 up to what `memory()` reports' } : {},
  )
}

function mismatch(words: readonly string[]): VarveError {
  const [page, byte, found, expected] = [0, 1, 2, 3].map((index) => hex(words[index], words))
  const whose = decodePageWord(found as bigint)
  const origin = found === 0n ? 'zero' : `what page ${whose.page} with seed ${whose.seed} would hold`
  return new VarveError(
    'GUEST_MEMORY',
    `guest page ${page}, byte ${byte}: found 0x${found?.toString(16)} (${origin}), expected 0x${expected?.toString(16)}`,
    {
      details: { page: Number(page), byte: Number(byte), found: `${found}`, expected: `${expected}`, whose },
    },
  )
}

function hex(word: string | undefined, all: readonly string[]): bigint {
  if (word !== undefined && /^0x[0-9a-f]{1,16}$/.test(word)) return BigInt(word)
  throw new VarveError('GUEST_PROTOCOL', `micro guest answered "${all.join(' ')}", where a number is missing`)
}

function numbers(pattern: TouchPattern): string {
  const { start, count, stride, order } = checkedPattern(pattern)
  return `${start} ${count} ${stride} ${order}`
}

const duration = (pages: number, words: number) => pages * (pageTimeoutMs + words * wordTimeoutMs)

function* parts(pages: readonly number[]): Generator<readonly number[]> {
  for (const page of pages) checkedPattern({ start: page, count: 1 })
  for (let at = 0; at < pages.length; at += maxListed) yield pages.slice(at, at + maxListed)
}
