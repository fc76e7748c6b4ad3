import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface ScriptedServer extends AsyncDisposable {
  /** `127.0.0.1:PORT`. */
  readonly host: string
  /** What was asked, as `METHOD /path?query`, and with which headers. */
  readonly requests: { readonly line: string; readonly headers: IncomingMessage['headers'] }[]
}

/** A server on loopback that answers as `answer` does; for answers that no true server gives. */
export async function scriptedServer(
  answer: (request: IncomingMessage, response: ServerResponse, body: Buffer) => unknown,
): Promise<ScriptedServer> {
  const requests: ScriptedServer['requests'] = []
  const server = createServer({ maxHeaderSize: 65_536 }, async (request, response) => {
    requests.push({ line: `${request.method} ${request.url}`, headers: request.headers })
    const pieces: Buffer[] = []
    try {
      for await (const piece of request) pieces.push(piece)
      await answer(request, response, Buffer.concat(pieces))
    } catch {
      response.destroy()
    }
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
