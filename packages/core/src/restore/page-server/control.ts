import { chmodSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { counterNames } from './fault-loop.js'

/** A request is one short JSON object. */
const maxRequestBytes = 4096

export interface ControlParts {
  readonly counters: Float64Array
  readonly trace: Uint32Array
  readonly stop: () => void
}

/** Answers the owner's questions on a Unix socket; see docs/formats/page-server-protocol.md. */
export function startControl(path: string, parts: ControlParts): Promise<{ close(): void }> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    // A peer that goes away in the middle of an answer is no concern of the server's.
    socket.on('error', () => socket.destroy())
    let pending = ''
    socket.setEncoding('utf8').on('data', (text: string) => {
      pending += text
      if (pending.length > maxRequestBytes) return socket.destroy()
      const lines = pending.split('\n')
      pending = lines.pop() ?? ''
      for (const line of lines) {
        const { answer, stop } = answerTo(line, parts)
        socket.write(`${JSON.stringify(answer)}\n`, () => stop && parts.stop())
      }
      return undefined
    })
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, () => {
      chmodSync(path, 0o600)
      resolve({
        close: () => {
          server.close()
          for (const socket of sockets) socket.destroy()
          rmSync(path, { force: true })
        },
      })
    })
  })
}

function answerTo(line: string, { counters, trace }: ControlParts): { answer: unknown; stop?: boolean } {
  let request: { op?: unknown } | null
  try {
    request = JSON.parse(line) as { op?: unknown } | null
  } catch {
    return { answer: { error: 'not JSON' } }
  }
  const traced = counters[counterNames.indexOf('traced')] as number
  switch (request?.op) {
    case 'stats':
      return { answer: Object.fromEntries(counterNames.map((name, index) => [name, counters[index]])) }
    case 'trace':
      return { answer: { pages: [...trace.subarray(0, traced)], truncated: traced === trace.length } }
    case 'stop':
      return { answer: {}, stop: true }
    default:
      return { answer: { error: `no operation ${JSON.stringify(request?.op)}` } }
  }
}
