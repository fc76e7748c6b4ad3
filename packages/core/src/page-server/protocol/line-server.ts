import { renameSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { VarveError } from '../../errors.js'
import { LineCutter } from '../../helper/line-cutter.js'

/** A request is one short JSON object. */
const maxRequestLength = 8192
/** Owners ask, get their answer, and go. Each connection is a descriptor that the VMs of others may need. */
const maxConnections = 64

export interface LineRequest {
  readonly op?: unknown
  readonly [name: string]: unknown
}

export interface LineServer {
  close(): void
}

/**
 * Answers one JSON object a line with one a line, on a Unix socket of this process's user (the umask makes it
 * so from the first moment). What `answer` throws becomes `{"error": …, "code": …}`.
 */
export function startLineServer(
  path: string,
  answer: (request: LineRequest) => Promise<object>,
  /** Called when an answer was handed to the kernel. */
  answered: (request: LineRequest) => void = () => {},
): Promise<LineServer> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    // A peer that goes away in the middle of an answer is no concern of the server's.
    socket.on('error', () => socket.destroy())
    const cutter = new LineCutter(maxRequestLength)
    let turn = Promise.resolve()
    socket.setEncoding('utf8').on('data', (text: string) => {
      let lines: string[]
      try {
        lines = cutter.cut(text)
      } catch {
        return socket.destroy()
      }
      for (const line of lines) {
        // Answers come in the order of the requests, and no request overtakes another.
        turn = turn.then(async () => {
          const request = parsed(line)
          const value = request === undefined ? { error: 'not JSON' } : await settled(answer(request))
          socket.write(`${JSON.stringify(value)}\n`, () => answered(request ?? {}))
        })
      }
      return undefined
    })
  })
  server.maxConnections = maxConnections
  // A successor's socket takes the place of the one before at once: who asks
  // meanwhile finds one or the other.
  const draft = join(dirname(path), 'next.sock')
  rmSync(draft, { force: true })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(draft, () => {
      renameSync(draft, path)
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

/** Undefined if it is not JSON; what is no object has no operation. */
function parsed(line: string): LineRequest | undefined {
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? (value as LineRequest) : {}
  } catch {
    return undefined
  }
}

async function settled(answer: Promise<object>): Promise<object> {
  try {
    return await answer
  } catch (error) {
    const known = error instanceof VarveError ? { code: error.code, kind: error.details.kind } : {}
    return { error: (error as Error).message, ...known }
  }
}
