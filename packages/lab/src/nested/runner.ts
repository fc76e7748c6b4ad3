import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { accessSync, constants, mkdirSync, readdirSync, readFileSync, writeSync } from 'node:fs'
import { appendFile, chmod, mkdir, open, readdir, rm, symlink } from 'node:fs/promises'
import { release } from 'node:os'
import { dirname, join, normalize } from 'node:path'
import type { Readable } from 'node:stream'
import { encodeFrame, type Frame, FrameDecoder, type Message, maxBodyBytes } from './job-frames.js'
import { labEnvironment, labPaths, portName } from './lab-paths.js'

/**
 * Runs inside the nested lab, started by its init: takes jobs from the virtio-serial port and answers there.
 * Each job is a Node process in a folder of its own. When the port closes, the process that opened the lab is
 * gone, and the lab powers off.
 */
const jobsDirectory = join(labPaths.scratch, 'jobs')
const running = new Map<number, ChildProcess>()

const port = await open(portDevice(), 'r+')
await mkdir(jobsDirectory, { recursive: true })
// Scripts find `varve` and its dependencies as they would in the checkout.
await symlink(join(labPaths.project, 'node_modules'), join(jobsDirectory, 'node_modules'))
send({ type: 'hello', kernel: release(), node: process.version, kvm: hasKvm() })
const decoder = new FrameDecoder()
for await (const chunk of portReader()) for (const frame of decoder.push(chunk as Buffer)) await handle(frame)
powerOff()

function portDevice(): string {
  const ports = '/sys/class/virtio-ports'
  for (const name of readdirSync(ports))
    if (readFileSync(join(ports, name, 'name'), 'utf8').trim() === portName) return join('/dev', name)
  throw new Error(`no virtio-serial port named ${portName}`)
}

function hasKvm(): boolean {
  try {
    accessSync('/dev/kvm', constants.R_OK | constants.W_OK)
    return true
  } catch {
    return false
  }
}

/**
 * A read of the port gives 4 KiB at most and blocks; `cat` does that four times as fast as Node's pool of
 * threads when emulated, and hands over larger pieces through its pipe. It ends when the port closes.
 */
function portReader(): Readable {
  const { stdout } = spawn('/bin/cat', [], { stdio: [port.fd, 'pipe', 'inherit'] })
  if (stdout === null) throw new Error('no pipe from cat')
  return stdout
}

/** Synchronous, so that frames of several jobs never mix; QEMU always drains the port. */
function send(message: Message, body?: Uint8Array): void {
  const frame = encodeFrame(message, body)
  for (let sent = 0; sent < frame.length; ) sent += writeSync(port.fd, frame, sent)
}

function powerOff(): never {
  spawnSync('/bin/poweroff', ['-f'])
  throw new Error('poweroff came back')
}

async function handle({ message, body }: Frame): Promise<void> {
  switch (message.type) {
    case 'put': {
      const path = inside(join(jobsDirectory, String(message.job)), message.path)
      await mkdir(dirname(path), { recursive: true })
      await appendFile(path, body)
      if (message.executable) await chmod(path, 0o755)
      return
    }
    case 'start':
      start(message).catch((error: unknown) =>
        send({ type: 'done', job: message.job, exitCode: null, signal: null, error: String(error) }),
      )
      return
    case 'kill':
      kill(running.get(message.job))
      return
    default:
      throw new Error(`a ${message.type} message is not for the runner`)
  }
}

function inside(folder: string, path: string): string {
  const target = normalize(join(folder, path))
  if (!target.startsWith(`${folder}/`)) throw new Error(`${path} leads out of the job's folder`)
  return target
}

async function start({ job, args, env }: Extract<Message, { type: 'start' }>): Promise<void> {
  const folder = join(jobsDirectory, String(job))
  const output = join(folder, 'output')
  const result = join(folder, 'result.json')
  // No waiting before the script is in `running`, so that a kill right behind the start finds it.
  mkdirSync(output, { recursive: true })
  const child = spawn(process.execPath, [join(folder, 'script.mjs'), ...args], {
    cwd: folder,
    // A group of its own, so that `kill` also reaches what the script started.
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...labEnvironment, VARVE_LAB_OUTPUT: output, VARVE_LAB_RESULT: result, ...env },
  })
  running.set(job, child)
  for (const stream of ['stdout', 'stderr'] as const)
    child[stream].on('data', (chunk: Buffer) => {
      for (let at = 0; at < chunk.length; at += maxBodyBytes)
        send({ type: 'output', job, stream }, chunk.subarray(at, at + maxBodyBytes))
    })
  const [exitCode, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    child.on('error', reject)
    child.on('exit', (code, killedBy) => {
      // What the script left running in its group would hold its output open.
      kill(child)
      child.on('close', () => resolve([code, killedBy]))
    })
  })
  running.delete(job)
  await sendFile(result, (body) => send({ type: 'result', job }, body))
  for (const entry of await readdir(output, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue
    const path = join(entry.parentPath, entry.name)
    await sendFile(path, (body) => send({ type: 'file', job, path: path.slice(output.length + 1) }, body))
  }
  send({ type: 'done', job, exitCode, signal })
  await rm(folder, { recursive: true, force: true })
}

function kill(child: ChildProcess | undefined): void {
  if (child?.pid === undefined) return
  try {
    process.kill(-child.pid, 'SIGKILL')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

async function sendFile(path: string, piece: (body: Buffer) => void): Promise<void> {
  let file: Awaited<ReturnType<typeof open>>
  try {
    file = await open(path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  try {
    for (let first = true; ; first = false) {
      const { bytesRead, buffer } = await file.read(Buffer.alloc(maxBodyBytes), 0, maxBodyBytes)
      // An empty file is sent too, as one empty piece.
      if (bytesRead > 0 || first) piece(buffer.subarray(0, bytesRead))
      if (bytesRead === 0) return
    }
  } finally {
    await file.close()
  }
}
