import { chmodSync, rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { type CounterName, counterNames } from './fault-loop.js'
import type { GuardWatch } from './guard-watch.js'

/** A request is one short JSON object. */
const maxRequestBytes = 4096

export interface ControlParts {
  readonly counters: Float64Array
  readonly trace: Uint32Array
  readonly guards: GuardWatch
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
      const lines = (pending + text).split('\n')
      pending = lines.pop() ?? ''
      for (const line of [...lines, pending]) if (line.length > maxRequestBytes) return socket.destroy()
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

function answerTo(
  line: string,
  { counters, trace, guards }: ControlParts,
): { answer: unknown; stop?: boolean } {
  let request: { op?: unknown; pid?: unknown; startTime?: unknown } | null
  try {
    request = JSON.parse(line) as typeof request
  } catch {
    return { answer: { error: 'not JSON' } }
  }
  const count = (name: CounterName) => counters[counterNames.indexOf(name)] as number
  switch (request?.op) {
    case 'stats':
      return { answer: Object.fromEntries(counterNames.map((name, index) => [name, counters[index]])) }
    case 'trace':
      return {
        answer: { pages: [...trace.subarray(0, count('traced'))], truncated: count('faults') > trace.length },
      }
    case 'guard': {
      const { pid, startTime } = request
      if (Number.isSafeInteger(pid) && Number.isSafeInteger(startTime))
        guards.watch({ pid: pid as number, startTime: startTime as number })
      else if (pid !== undefined || startTime !== undefined) return { answer: { error: 'not a process' } }
      return { answer: { ...guards.guard } }
    }
    case 'stop':
      return { answer: {}, stop: true }
    default:
      return { answer: { error: `no operation ${JSON.stringify(request?.op)}` } }
  }
}
