import { closeSync, openSync, rmSync, writeSync } from 'node:fs'

/**
 * A file that says whether this process has the VMM make calls, so that it can be told why both ended: `1` or
 * `0`, and the pid of this process. Read by machine/held-note.ts.
 */
export class HeldNote implements Disposable {
  readonly #path: string
  readonly #fd: number

  constructor(path: string) {
    this.#path = path
    this.#fd = openSync(path, 'w', 0o600)
    writeSync(this.#fd, `0 ${process.pid}\n`)
  }

  /** Some 2 µs. Stays if this process is killed: the kernel has it. */
  set(isHeld: boolean): void {
    writeSync(this.#fd, isHeld ? '1' : '0', 0)
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd)
    rmSync(this.#path, { force: true })
  }
}
