import {
  closeSync,
  constants,
  type FSWatcher,
  fstatSync,
  openSync,
  readSync,
  statSync,
  watch,
  writeSync,
} from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { logUse, VarveError } from 'varve'

export interface TransportOptions {
  readonly signal?: AbortSignal | undefined
}

/**
 * Lines to and from a guest's serial console. One reader and one writer at a time. Both calls reject
 * with the signal's reason when it is aborted; nothing that arrived is lost by that. The owner
 * closes it, after which calls reject.
 */
export interface ConsoleTransport extends AsyncDisposable {
  /** Sends the text as one piece. */
  write(text: string, options?: TransportOptions): Promise<void>
  /** The next whole line, without its end. */
  readLine(options?: TransportOptions): Promise<string>
}

/** Longest text that a FIFO takes whole or not at all (PIPE_BUF, pipe(7)). */
export const maxWriteBytes = 4096
/** A guest's line is some 80 bytes; a file that never has a line end must not fill memory. */
const maxLineBytes = 64 * 1024
const chunkBytes = 16 * 1024
/** The FIFO is full only while the guest is not reading: 64 KiB of unread commands. */
const fullRetryMs = 5

/**
 * Serial input by Firecracker's standard-input FIFO, output by following the
 * file its standard output goes to.
 */
export class FileTailTransport implements ConsoleTransport {
  readonly #fifoPath: string
  readonly #logPath: string
  readonly #log: number
  readonly #watcher: FSWatcher
  readonly #chunk = Buffer.alloc(chunkBytes)
  #offset = 0
  #pending = ''
  #closed = false
  /** Counts events, so that one that comes between reading and waiting is not missed. */
  #events = 0
  #wake: () => void = () => {}

  /** Both files exist already. Output is read from its beginning, as far as that is kept (`logUse`). */
  constructor(files: { readonly fifoPath: string; readonly logPath: string }) {
    this.#fifoPath = files.fifoPath
    this.#logPath = files.logPath
    let log: number | undefined
    try {
      log = openSync(files.logPath, constants.O_RDONLY)
      this.#watcher = watch(files.logPath, () => this.#notify())
    } catch (cause) {
      if (log !== undefined) closeSync(log)
      throw unreachable(`console output ${files.logPath}`, cause)
    }
    this.#log = log
    this.#offset = logUse(files.logPath).droppedBytes
    // Without events a reader would wait for ever; it finds out at its next read instead.
    this.#watcher.on('error', () => this.#notify())
  }

  async write(text: string, options: TransportOptions = {}): Promise<void> {
    const bytes = Buffer.from(text, 'latin1')
    if (bytes.length > maxWriteBytes)
      throw new VarveError(
        'INVALID_ARGUMENT',
        `console text of ${bytes.length} bytes exceeds ${maxWriteBytes}`,
      )
    for (;;) {
      options.signal?.throwIfAborted()
      this.#assertOpen()
      if (this.#tryWrite(bytes)) return
      await sleep(fullRetryMs, undefined, { signal: options.signal })
    }
  }

  /**
   * False if the FIFO is full. Non-blocking, and opened anew each time: the VMM may have ended in between.
   */
  #tryWrite(bytes: Buffer): boolean {
    let fd: number | undefined
    try {
      fd = openSync(this.#fifoPath, constants.O_WRONLY | constants.O_NONBLOCK)
      if (!fstatSync(fd).isFIFO())
        throw new VarveError('PATH_INVALID', `console input ${this.#fifoPath} is not a FIFO`)
      this.#assertSameMachine()
      writeSync(fd, bytes)
      return true
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === 'EAGAIN') return false
      throw cause instanceof VarveError ? cause : unreachable(`console input ${this.#fifoPath}`, cause)
    } finally {
      if (fd !== undefined) closeSync(fd)
    }
  }

  /** A machine that has ended leaves its name, and so these paths, to another. Called with the FIFO open. */
  #assertSameMachine(): void {
    const [mine, there] = [fstatSync(this.#log), statSync(this.#logPath, { throwIfNoEntry: false })]
    if (there === undefined || mine.ino !== there.ino || mine.dev !== there.dev)
      throw new VarveError('MACHINE_EXITED', `the machine of console output ${this.#logPath} has ended`)
  }

  async readLine(options: TransportOptions = {}): Promise<string> {
    const { signal } = options
    for (;;) {
      signal?.throwIfAborted()
      this.#assertOpen()
      const seen = this.#events
      const line = this.#takeLine()
      if (line !== undefined) return line
      if (this.#readMore()) continue
      // A machine's directory goes with the machine.
      if (fstatSync(this.#log).nlink === 0)
        throw new VarveError('MACHINE_EXITED', `console output ${this.#logPath} was removed`)
      if (this.#events === seen) await this.#nextEvent(signal)
    }
  }

  #takeLine(): string | undefined {
    const end = this.#pending.indexOf('\n')
    if (end < 0) {
      if (this.#pending.length > maxLineBytes)
        throw new VarveError('GUEST_PROTOCOL', `${this.#logPath}: a line exceeds ${maxLineBytes} bytes`)
      return undefined
    }
    const line = this.#pending.slice(0, end)
    this.#pending = this.#pending.slice(end + 1)
    return line.endsWith('\r') ? line.slice(0, -1) : line
  }

  #readMore(): boolean {
    const count = readSync(this.#log, this.#chunk, 0, chunkBytes, this.#offset)
    this.#offset += count
    this.#pending += this.#chunk.toString('latin1', 0, count)
    return count > 0
  }

  #nextEvent(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        signal?.removeEventListener('abort', done)
        resolve()
      }
      this.#wake = done
      signal?.addEventListener('abort', done, { once: true })
    })
  }

  #notify(): void {
    this.#events++
    this.#wake()
  }

  #assertOpen(): void {
    if (this.#closed) throw new VarveError('MACHINE_STATE', `console ${this.#logPath} is closed`)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#watcher.close()
    closeSync(this.#log)
    this.#notify()
  }
}

function unreachable(what: string, cause: unknown): VarveError {
  const { code, message } = cause as NodeJS.ErrnoException
  // ENXIO: a FIFO without a reader, so its VMM has ended.
  const gone = code === 'ENXIO' || code === 'ENOENT'
  return new VarveError(gone ? 'MACHINE_EXITED' : 'GUEST_PROTOCOL', `${what}: ${message}`, { cause })
}
