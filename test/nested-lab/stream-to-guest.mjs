// The other end of device-traffic.py's stream: pages of counted words, as many ahead of what the guest has
// counted as its window allows. Connects again if the connection ends, and goes on from the guest's count.
import { setTimeout as sleep } from 'node:timers/promises'
import { connectVsock } from 'varve'

const port = 1025
const pageWords = 512
const windowPages = 16
/**
 * A snapshot resets the vsock device, also of a machine that goes on: the guest then has no such connection,
 * and this end is not told.
 */
const stallMs = 1500
/** A connection that is made as the device is reset may get no answer. */
const connectMs = 3000

function streamed(page) {
  const words = BigUint64Array.from({ length: pageWords }, (_, word) => BigInt(page * pageWords + word))
  return Buffer.from(words.buffer)
}

export class StreamToGuest {
  /** Pages that the guest says it has, and pages that were written to the socket. */
  acked = 0
  sent = 0
  #path
  #ended = false
  #socket
  #going

  constructor({ vsockPath }) {
    this.#path = vsockPath
    this.#going = this.#keepOn()
  }

  async #keepOn() {
    for (; !this.#ended; await sleep(200)) {
      try {
        this.#socket = await connectVsock(this.#path, port, { attempts: 1, timeoutMs: connectMs })
      } catch {
        continue // It boots, or has just been restored.
      }
      await new Promise((resolve) => this.#feed(this.#socket, resolve))
    }
  }

  #feed(socket, closed) {
    let rest = Buffer.alloc(0)
    let isFirst = true
    socket.on('data', (data) => {
      rest = Buffer.concat([rest, data])
      const counts = Math.floor(rest.length / 8)
      if (counts === 0) return
      this.acked = Number(rest.readBigUInt64LE((counts - 1) * 8))
      if (isFirst) this.sent = this.acked
      isFirst = false
      rest = rest.subarray(counts * 8)
      for (; this.sent < this.acked + windowPages; this.sent++) socket.write(streamed(this.sent))
    })
    socket.setTimeout(stallMs, () => socket.destroy())
    socket.on('error', () => {})
    socket.on('close', closed)
    socket.resume()
    if (this.#ended) socket.destroy()
  }

  async end() {
    this.#ended = true
    this.#socket?.destroy()
    await this.#going
  }
}
