import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

export interface CountingProxy extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string
}

/**
 * Passes connections on to a server on loopback, and tells of each request's first line (`PUT /path`).
 * `cut(n)` lets n more bytes of the client through, then ends the connection on both sides.
 */
export async function countingProxy(
  target: string,
  onRequest: (line: string, cut: (afterBytes: number) => void) => void,
): Promise<CountingProxy> {
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const upstream = connect(Number(target.split(':')[1]), '127.0.0.1')
    let left = Number.POSITIVE_INFINITY
    const end = () => {
      client.destroy()
      upstream.destroy()
    }
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', end).on('close', end)
    }
    client.on('data', (piece) => {
      // A client of HTTP/1.1 that waits for answers begins each request with a write of its own.
      const line = /^([A-Z]+ \S+) HTTP\/1\.1\r\n/.exec(piece.toString('latin1', 0, 4096))?.[1]
      if (line !== undefined)
        onRequest(line.replace(/\?.*/, ''), (afterBytes) => {
          left = afterBytes
        })
      upstream.write(piece.subarray(0, left))
      left -= piece.length
      // Not at once: what was let through is to arrive.
      if (left <= 0) setTimeout(end, 100)
    })
    upstream.pipe(client)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
