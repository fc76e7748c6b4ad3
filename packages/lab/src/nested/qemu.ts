import { type ChildProcess, spawn } from 'node:child_process'
import { createServer, type Server, type Socket } from 'node:net'
import { VarveError } from 'varve'
import { type Accelerator, acceleratorArguments } from './accelerator.js'
import type { HostImage } from './host-image.js'
import { portName } from './lab-paths.js'

export interface QemuOptions {
  readonly image: HostImage
  readonly projectDisk: string
  readonly scratchDisk: string
  /** A disk of the caller's, read-only. */
  readonly dataDisk: string | undefined
  readonly accelerator: Accelerator
  readonly memoryMib: number
  readonly cpus: number
  /** Where the lab's console goes. */
  readonly consoleLogPath: string
  /** Unix socket to be made for the job channel. */
  readonly socketPath: string
}

export interface Qemu {
  /**
   * The job channel, or null if QEMU ended before it connected, which it does before it starts the machine.
   */
  readonly channel: Promise<Socket | null>
  /** When QEMU has ended: why, in words. */
  readonly ended: Promise<string>
  /** Ends QEMU at once. Its disks are read-only or thrown away, so nothing is lost. */
  kill(): void
}

/** QEMU opens its character devices within a second of its start. */
const connectTimeoutMs = 30_000

/**
 * Starts QEMU. We listen and QEMU connects: so the port inside is connected from its first moment
 * on, and its closing tells the runner that we are gone (it then powers off, which ends QEMU even
 * after a SIGKILL of this process).
 */
export async function startQemu(options: QemuOptions): Promise<Qemu> {
  const server = createServer({ pauseOnConnect: true })
  await listen(server, options.socketPath)
  const child = spawn('qemu-system-x86_64', qemuArguments(options), { stdio: ['ignore', 'ignore', 'pipe'] })
  let words = ''
  child.stderr.on('data', (chunk: Buffer) => {
    words = (words + chunk.toString('utf8')).slice(-2000)
  })
  const ended = endOf(child, () => words)
  const stuck = setTimeout(() => child.kill('SIGKILL'), connectTimeoutMs)
  const channel = Promise.race([
    new Promise<Socket>((resolve) => server.once('connection', resolve)),
    ended.then(() => null),
  ])
  // One peer only. Closing the server also removes the socket file.
  void channel.finally(() => {
    clearTimeout(stuck)
    server.close()
  })
  return { channel, ended, kill: () => child.kill('SIGKILL') }
}

function qemuArguments(options: QemuOptions): string[] {
  const { image, accelerator, memoryMib, cpus, consoleLogPath, socketPath } = options
  const disk = (path: string, mode: string) => [
    '-drive',
    // QEMU takes a doubled comma for a comma.
    `file=${path.replaceAll(',', ',,')},if=virtio,format=raw,cache=unsafe,${mode}`,
  ]
  return [
    ...['-name', 'varve-lab', '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ...['-machine', 'q35', ...acceleratorArguments(accelerator)],
    ...['-m', String(memoryMib), '-smp', String(cpus)],
    ...['-kernel', image.kernel, '-initrd', image.initrd],
    ...['-append', 'console=ttyS0 quiet panic=-1 mitigations=off'],
    ...disk(image.rootDisk, 'readonly=on'),
    ...disk(options.projectDisk, 'readonly=on'),
    ...disk(options.scratchDisk, 'readonly=off'),
    ...(options.dataDisk === undefined ? [] : disk(options.dataDisk, 'readonly=on')),
    ...['-device', 'virtio-rng-pci'],
    ...[
      '-chardev',
      `file,id=console,path=${consoleLogPath.replaceAll(',', ',,')}`,
      '-serial',
      'chardev:console',
    ],
    ...['-chardev', `socket,id=jobs,path=${socketPath.replaceAll(',', ',,')}`],
    ...['-device', 'virtio-serial-pci', '-device', `virtserialport,chardev=jobs,name=${portName}`],
  ]
}

function listen(server: Server, path: string): Promise<void> {
  // sun_path holds 108 bytes with its NUL; Node would cut a longer one silently.
  if (Buffer.byteLength(path) > 107)
    throw new VarveError('PATH_INVALID', `${path} is too long for a Unix socket`, {
      remedy: 'set a shorter $TMPDIR',
    })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(path, resolve)
  })
}

function endOf(child: ChildProcess, words: () => string): Promise<string> {
  return new Promise((resolve) => {
    child.on('error', (error) => resolve(error.message))
    child.on('close', (code, signal) =>
      resolve(`QEMU ended with ${code === null ? signal : `status ${code}`} ${words().trim()}`.trim()),
    )
  })
}
