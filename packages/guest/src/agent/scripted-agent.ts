import { rmSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { frameKind, tag, verb } from './bounds.js'
import { AnswerFields, encodeFields, type Field } from './fields.js'
import { encodeFrame, preamble, preambleBytes } from './frames.js'
import type { HookName } from './hooks.js'
import { wallClock } from './wall-clock.js'

/** What a hook of a scripted guest does: run these programs, fail, or never end. */
export type ScriptedHook = readonly string[] | 'fails' | 'hangs'

/** An agent that does nothing but to note what it is asked, behind a socket as Firecracker's; for tests. */
export interface ScriptedAgent extends AsyncDisposable {
  /** `fix-up clock entropy hostname=web machine-id`, `hook run`, `ping`, `exec true`. */
  readonly told: string[]
  readonly hooks: Partial<Record<HookName, ScriptedHook>>
}

export async function scriptedAgent(path: string): Promise<ScriptedAgent> {
  const told: string[] = []
  const hooks: Partial<Record<HookName, ScriptedHook>> = {}
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket)
    serve(socket, (request) => answerTo(request, told, hooks))
  })
  await new Promise<void>((done) => server.listen(path, done))
  return {
    told,
    hooks,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy()
      await new Promise<void>((done) => server.close(() => done()))
      rmSync(path, { force: true })
    },
  }
}

function serve(socket: Socket, answer: (request: Buffer) => Buffer): void {
  const wall = wallClock()
  let rest = Buffer.alloc(0)
  let connected = false
  let greeted = false
  const take = (bytes: number) => {
    const taken = rest.subarray(0, bytes)
    rest = rest.subarray(bytes)
    return taken
  }
  socket.on('error', () => {})
  socket.on('data', (chunk: Buffer) => {
    rest = Buffer.concat([rest, chunk])
    if (!connected && rest.includes(10)) {
      take(rest.indexOf(10) + 1)
      connected = true
      socket.write('OK 1\n')
    }
    if (connected && !greeted && rest.length >= preambleBytes) {
      take(preambleBytes)
      greeted = true
      socket.write(preamble())
    }
    while (greeted && rest.length >= 8 && rest.length >= 8 + rest.readUInt32LE(0)) {
      const [length, kind] = [rest.readUInt32LE(0), rest[4]]
      const payload = take(8 + length).subarray(8)
      if (kind === frameKind.open) socket.write(answer(payload))
      if (kind !== frameKind.ping) continue
      const pong = Buffer.alloc(16)
      pong.writeBigInt64LE(wall(), 0)
      socket.write(encodeFrame(frameKind.pong, 0, pong))
    }
  })
}

const frame = (kind: number, ...fields: Field[]) => encodeFrame(kind, 0, encodeFields(fields))
const step = (name: string) =>
  frame(frameKind.step, [
    tag.step,
    Buffer.concat([Buffer.from([250, 0, 0, 0, 0, 0, 0, 0]), Buffer.from(name)]),
  ])

function answerTo(request: Buffer, told: string[], hooks: Partial<Record<HookName, ScriptedHook>>): Buffer {
  const fields = new AnswerFields(request.subarray(4))
  const asked = request.readUInt16LE(0)
  if (asked === verb.fixUp) {
    const names = ['clock', 'entropy', 'hostname', 'machineId', 'scripts'] as const
    const steps = names.filter((name) => fields.has(tag[name]))
    const host = fields.text(tag.hostname)
    told.push(['fix-up', ...steps.map((it) => (it === 'hostname' ? `hostname=${host}` : it))].join(' '))
    const was = Buffer.alloc(8)
    return Buffer.concat([...steps.map(step), frame(frameKind.result, [tag.was, was])])
  }
  if (asked === verb.hook) {
    const name = fields.text(tag.name) as HookName
    const does = hooks[name] ?? []
    told.push(`hook ${name}`)
    if (does === 'hangs') return frame(frameKind.accepted)
    if (does === 'fails')
      return frame(frameKind.fail, [tag.code, 'STEP_FAILED'], [tag.message, `${name}: exit status 9`])
    return Buffer.concat([frame(frameKind.accepted), ...does.map(step), frame(frameKind.result)])
  }
  if (asked === verb.exec) {
    told.push(`exec ${fields.text(tag.arg)}`)
    const ended = frame(frameKind.result, [tag.exit, 0], [tag.elapsed, 1])
    return Buffer.concat([frame(frameKind.accepted, [tag.pid, 7]), ended])
  }
  told.push('ping')
  return frame(frameKind.result, [tag.agent, '1'], [tag.pid, 1], [tag.uptime, 1])
}
