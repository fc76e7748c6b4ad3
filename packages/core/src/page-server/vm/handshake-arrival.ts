import { closeSync } from 'node:fs'
import type { Server, Socket } from 'node:net'
import { userfaultfdsOf } from '../../sys/proc.js'
import type { PageServerConfig } from '../protocol/config.js'
import { listenForHandshake } from './handshake-socket.js'
import { type Handshake, receiveHandshake } from './receive-handshake.js'

/** From the order to serve a VM to its load: a restore sends both within some 10 ms, on a busy host later. */
const loadBeginsMs = 1000

/** Waits for the one connection by which Firecracker hands over a VM's memory. */
export class HandshakeArrival {
  readonly #config: PageServerConfig
  readonly #serve: (handshake: Handshake) => Promise<void>
  readonly #fail: (error: unknown) => void
  readonly #madeAt = performance.now()
  #listener: Server | undefined
  #connection: Socket | undefined
  #stopped = false

  /** `serve` is called once at most; `fail` if that fails, or the handshake is not right. */
  constructor(
    config: PageServerConfig,
    { serve, fail }: { serve(handshake: Handshake): Promise<void>; fail(error: unknown): void },
  ) {
    this.#config = config
    this.#serve = serve
    this.#fail = fail
  }

  /** Resolves once Firecracker may connect. */
  async listen(): Promise<void> {
    this.#listener = await listenForHandshake(this.#config, (socket) => {
      if (this.#connection !== undefined || this.#stopped) return false
      this.#connection = socket
      this.#attach(socket).catch(this.#fail)
      return true
    })
    if (this.#stopped) this.#listener.close()
  }

  async #attach(socket: Socket): Promise<void> {
    const { vmm, map } = this.#config
    const handshake = await receiveHandshake(socket, vmm, map.pages)
    if (this.#stopped) return closeSync(handshake.userfaultfd)
    await this.#serve(handshake)
  }

  /** Whether Firecracker has connected, or may be about to. */
  isExpected(): boolean {
    return (
      this.#connection !== undefined ||
      performance.now() - this.#madeAt < loadBeginsMs ||
      userfaultfdsOf(this.#config.vmm.pid).length > 0
    )
  }

  /** From now on nothing is accepted, and nothing that comes is served. */
  stop(): void {
    this.#stopped = true
    this.#listener?.close()
  }

  disconnect(): void {
    this.#connection?.destroy()
  }
}
