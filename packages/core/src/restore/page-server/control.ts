import { rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { VarveError } from '../../errors.js'
import type { AfterRecorded } from '../../working-set/recording.js'
import { counterNames } from './fault-loop.js'
import { afterRecorded } from './fault-orders.js'
import type { GuardWatch } from './guard-watch.js'

/** A request is one short JSON object. */
const maxRequestBytes = 4096

export interface ControlParts {
  readonly counters: Float64Array
  readonly guards: GuardWatch
  /** Both throw where the server cannot do it. */
  record(writes: boolean): Promise<object>
  recorded(next: AfterRecorded): Promise<object>
  /** The report, at once, or when there is an end of it, or after a while. */
  prefetched(wait: boolean): Promise<object>
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
    let turn = Promise.resolve()
    socket.setEncoding('utf8').on('data', (text: string) => {
      const lines = (pending + text).split('\n')
      pending = lines.pop() ?? ''
      for (const line of [...lines, pending]) if (line.length > maxRequestBytes) return socket.destroy()
      for (const line of lines) {
        // Answers come in the order of the requests, and no request overtakes another.
        turn = turn.then(async () => {
          const { answer, stop } = await answerTo(line, parts)
          socket.write(`${JSON.stringify(answer)}\n`, () => stop && parts.stop())
        })
      }
      return undefined
    })
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    // The umask of this process makes it 0600 from the first moment.
    server.listen(path, () => {
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

async function answerTo(line: string, parts: ControlParts): Promise<{ answer: unknown; stop?: boolean }> {
  const { counters, guards } = parts
  let request: {
    op?: unknown
    pid?: unknown
    startTime?: unknown
    writes?: unknown
    next?: unknown
    wait?: unknown
  } | null
  try {
    request = JSON.parse(line) as typeof request
  } catch {
    return { answer: { error: 'not JSON' } }
  }
  try {
    switch (request?.op) {
      case 'stats':
        return { answer: Object.fromEntries(counterNames.map((name, index) => [name, counters[index]])) }
      case 'record':
        if (typeof request.writes !== 'boolean') return { answer: { error: 'writes is not true or false' } }
        return { answer: await parts.record(request.writes) }
      case 'recorded': {
        const next = afterRecorded.find((it) => it === request?.next)
        if (next === undefined) return { answer: { error: `next is not ${afterRecorded.join(', ')}` } }
        return { answer: await parts.recorded(next) }
      }
      case 'prefetched':
        return { answer: await parts.prefetched(request.wait === true) }
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
  } catch (error) {
    const code = error instanceof VarveError ? { code: error.code } : {}
    return { answer: { error: (error as Error).message, ...code } }
  }
}
