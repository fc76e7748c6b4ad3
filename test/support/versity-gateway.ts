import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { buildOnce, runTool } from '@varve/guest/testing'
import type { BucketSettings } from '@varve/remote'

const version = 'v1.8.0'

export interface VersityGateway extends AsyncDisposable {
  readonly settings: BucketSettings
  readonly bucket: string
}

/** Built by Go's own client from the module, once: about two minutes of CPU. */
async function versityProgram(): Promise<string> {
  const directory = await buildOnce('versitygw', version, async (work) => {
    await runTool('go', ['install', '-trimpath', `github.com/versity/versitygw/cmd/versitygw@${version}`], {
      env: { ...process.env, GOBIN: work, CGO_ENABLED: '0', GOFLAGS: '-modcacherw' },
      timeoutMs: 15 * 60_000,
      package: 'golang-go',
    })
  })
  return join(directory, 'versitygw')
}

/** A server of S3's protocol on loopback, with one bucket in a folder that goes with it. */
export async function startVersityGateway(): Promise<VersityGateway> {
  const program = await versityProgram()
  const directory = mkdtempSync(join(tmpdir(), 'varve-bucket-'))
  const bucket = 'snapshots'
  mkdirSync(join(directory, 'data', bucket), { recursive: true })
  mkdirSync(join(directory, 'meta'))
  const credential = { accessKeyId: 'test', secretAccessKey: 'of one process' }
  const port = await freePort()
  const child = spawn(
    program,
    [
      '--quiet',
      '--keep-alive',
      '--port',
      `127.0.0.1:${port}`,
      'posix',
      '--sidecar',
      join(directory, 'meta'),
      join(directory, 'data'),
    ],
    {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: {
        ...process.env,
        ROOT_ACCESS_KEY_ID: credential.accessKeyId,
        ROOT_SECRET_ACCESS_KEY: credential.secretAccessKey,
      },
    },
  )
  const ended = once(child, 'close')
  const stop = async () => {
    child.kill('SIGKILL')
    await ended
    rmSync(directory, { recursive: true })
  }
  try {
    await reachable(port)
  } catch (error) {
    await stop()
    throw error
  }
  return {
    bucket,
    settings: { credential, region: 'us-east-1', endpoint: new URL(`http://127.0.0.1:${port}`) },
    [Symbol.asyncDispose]: stop,
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

async function reachable(port: number): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    const socket = connect(port, '127.0.0.1')
    const open = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (open) return
    await delay(100)
  }
  throw new Error('versitygw did not listen within 20 s')
}
