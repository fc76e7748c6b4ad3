import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { isVarveError, VarveError } from '../errors.js'
import { connectApi } from './api-client.js'

// A fake server only for what the one real binary cannot show: other versions and broken peers.
let directory: string
let server: Server | undefined
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-api-'))
})
afterEach(async () => {
  server?.closeAllConnections()
  await new Promise((resolve) => (server ? server.close(resolve) : resolve(undefined)))
  server = undefined
  rmSync(directory, { recursive: true })
})

interface Seen {
  method: string
  path: string
  headers: IncomingMessage['headers']
  body: string
}

async function fake(
  version: string,
  answer: (seen: Seen, response: ServerResponse) => void,
): Promise<{ socket: string; seen: Seen[] }> {
  const socket = join(directory, 'api.sock')
  const seen: Seen[] = []
  server = createServer(async (request, response) => {
    let body = ''
    for await (const chunk of request) body += chunk
    if (request.url === '/version') return response.end(JSON.stringify({ firecracker_version: version }))
    const entry = { method: request.method ?? '', path: request.url ?? '', headers: request.headers, body }
    seen.push(entry)
    return answer(entry, response)
  })
  await new Promise<void>((resolve) => server?.listen(socket, resolve))
  return { socket, seen }
}

const failure = (promise: Promise<unknown>): Promise<VarveError> =>
  promise.then(
    () => {
      throw new Error('expected a rejection')
    },
    (error) => {
      expect(error).toBeInstanceOf(VarveError)
      return error as VarveError
    },
  )

describe('API client', () => {
  test('sends Content-Length, keeps the connection, and leaves no chunked body', async () => {
    const { socket, seen } = await fake('1.12.1', (_seen, response) => response.writeHead(204).end())
    using client = await connectApi(socket)
    await client.pause()
    await client.createSnapshot({ snapshot_path: 's', mem_file_path: 'm', snapshot_type: 'Full' })
    expect(seen.map(({ method, path }) => `${method} ${path}`)).toEqual(['PATCH /vm', 'PUT /snapshot/create'])
    for (const { headers, body } of seen) {
      expect(Number(headers['content-length'])).toBe(Buffer.byteLength(body))
      expect(headers['transfer-encoding']).toBeUndefined()
      expect(headers.connection).toBe('keep-alive')
    }
  })

  test.each([
    ['1.10.1', 'network_overrides', '1.12.0'],
    ['1.12.1', 'track_dirty_pages', '1.13.0'],
    ['1.15.0', 'vsock_override', '1.16.0'],
    ['1.14.3', 'clock_realtime', '1.14.4'],
    ['1.15.0', 'clock_realtime', '1.14.4'],
  ])('%s: load field %s is refused, naming %s, and nothing is sent', async (version, field, first) => {
    const { socket, seen } = await fake(version, (_seen, response) => response.writeHead(204).end())
    using client = await connectApi(socket)
    const values = {
      network_overrides: [],
      track_dirty_pages: true,
      vsock_override: { uds_path: 'v' },
      clock_realtime: true,
    }
    const error = await failure(
      client.loadSnapshot({
        snapshot_path: 's',
        mem_backend: { backend_type: 'File', backend_path: 'm' },
        [field]: values[field as keyof typeof values],
      }),
    )
    expect(error.code).toBe('VERSION_UNSUPPORTED')
    expect(error.message).toContain(first)
    expect(error.message).toContain(version)
    expect(seen).toEqual([])
  })

  test.each(['1.14.4', '1.15.1', '1.16.1'])('%s: clock_realtime is sent', async (version) => {
    const { socket, seen } = await fake(version, (_seen, response) => response.writeHead(204).end())
    using client = await connectApi(socket)
    await client.loadSnapshot({
      snapshot_path: 's',
      mem_backend: { backend_type: 'File', backend_path: 'm' },
      clock_realtime: true,
    })
    expect(JSON.parse(seen[0]?.body ?? '').clock_realtime).toBe(true)
  })

  test('whole calls are gated too', async () => {
    const { socket } = await fake('1.13.0', (_seen, response) => response.writeHead(204).end())
    using client = await connectApi(socket)
    expect((await failure(client.putSerial({ serial_out_path: 'x' }))).message).toContain('1.14.0')
    expect((await failure(client.deleteDrive('root'))).message).toContain('1.16.0')
  })

  test('both error bodies reach the caller', async () => {
    const answers = [
      [400, { fault_message: 'first words' }],
      [503, { error: 'second words' }],
    ] as const
    const { socket } = await fake('1.12.1', (seen, response) => {
      const [status, body] = answers[seen.path === '/vm' ? 0 : 1]
      response.writeHead(status).end(JSON.stringify(body))
    })
    using client = await connectApi(socket)
    const first = await failure(client.pause())
    expect(first.code).toBe('API_REFUSED')
    expect(first.details.faultMessage).toBe('first words')
    expect((await failure(client.instanceInfo())).message).toContain('second words')
  })

  test('an id cannot change the path', async () => {
    const { socket, seen } = await fake('1.16.1', (_seen, response) => response.writeHead(204).end())
    using client = await connectApi(socket)
    expect((await failure(client.deleteDrive('../vm'))).code).toBe('INVALID_ARGUMENT')
    expect(seen).toEqual([])
  })

  test('a socket that dies, answers garbage or never answers is an error', async () => {
    const { socket } = await fake('1.12.1', (seen, response) => {
      if (seen.path === '/') response.socket?.destroy()
      else if (seen.path === '/vm/config') response.writeHead(200).end('{not json')
    })
    using client = await connectApi(socket)
    expect((await failure(client.instanceInfo())).code).toBe('API_TRANSPORT')
    expect((await failure(client.vmConfig())).code).toBe('API_TRANSPORT')
    const error = await failure(client.machineConfig({ signal: AbortSignal.timeout(50) }))
    expect(isVarveError(error, 'TIMEOUT')).toBe(true)
  })
})
