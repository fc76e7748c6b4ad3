import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { agentFiles, libraryFolders, pythonPackages } from '@varve/lab/testing'

/**
 * The guest's agent, run here by the guest's own Python, behind a socket that does Firecracker's handshake.
 */
export interface NativeAgent extends AsyncDisposable {
  /** For `guestAgent`. */
  readonly vsockPath: string
  /** A connection to the agent itself. */
  connect(): Promise<Socket>
}

export async function startNativeAgent(): Promise<NativeAgent> {
  const unpacked = await pythonPackages()
  const directory = mkdtempSync(join(tmpdir(), 'varve-agent-'))
  const socketPath = join(directory, 'agent.sock')
  for (const { name, content } of agentFiles) writeFileSync(join(directory, name), content)
  const child = spawn(
    join(unpacked, 'usr/bin/python3'),
    ['-S', '-B', join(directory, 'agent.py'), `unix:${socketPath}`],
    {
      stdio: ['ignore', 'inherit', 'inherit'],
      env: {
        PATH: `${dirname(process.execPath)}:/usr/bin:/bin`,
        LC_ALL: 'C',
        PYTHONHOME: join(unpacked, 'usr'),
        PYTHONDONTWRITEBYTECODE: '1',
        LD_LIBRARY_PATH: libraryFolders(unpacked).join(':'),
        VARVE_FUNCTIONS: join(directory, 'functions'),
      },
    },
  )
  const ended = new Promise<void>((done) => child.once('exit', () => done()))
  for (let tries = 0; !existsSync(socketPath); tries++) {
    if (tries > 200 || child.exitCode !== null) throw new Error('the agent does not come up')
    await sleep(50)
  }
  const sockets = new Set<Socket>()
  const proxy = createServer((socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.once('data', () => {
      const inner = connect(socketPath)
      inner.on('error', () => socket.destroy())
      socket.on('close', () => inner.destroy())
      inner.on('connect', () => {
        socket.write('OK 1\n')
        socket.pipe(inner).pipe(socket)
      })
    })
  })
  const vsockPath = join(directory, 'v.sock')
  await new Promise<void>((done) => proxy.listen(vsockPath, done))
  return {
    vsockPath,
    connect: () =>
      new Promise((resolve, reject) => {
        const socket = connect(socketPath, () => resolve(socket))
        socket.once('error', reject)
      }),
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy()
      proxy.close()
      child.kill('SIGKILL')
      await ended
      rmSync(directory, { recursive: true, force: true })
    },
  }
}
