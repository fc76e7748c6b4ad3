import { once } from 'node:events'
import { mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { connectSocket } from './connect-socket.js'

let directory: string
let server: Server
let connections: number
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'varve-connect-'))
  connections = 0
  server = createServer((socket) => {
    connections++
    socket.end('hello')
  })
  server.listen(join(directory, 'socket'))
  await once(server, 'listening')
})
afterEach(async () => {
  server.close()
  await once(server, 'close')
  rmSync(directory, { recursive: true })
})

const errorOf = async (name: string) => {
  const socket = connectSocket(join(directory, name))
  const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException]
  return error.code
}

describe('a Unix socket', () => {
  test('is connected to, and no descriptor stays open', async () => {
    const before = readdirSync('/proc/self/fd').length
    for (let round = 0; round < 20; round++) {
      const socket = connectSocket(join(directory, 'socket'))
      const [data] = (await once(socket, 'data')) as [Buffer]
      expect(String(data)).toBe('hello')
      socket.destroy()
    }
    expect(connections).toBe(20)
    await expect.poll(() => readdirSync('/proc/self/fd').length).toBeLessThanOrEqual(before)
  })

  test('is not reached by a link', async () => {
    symlinkSync('socket', join(directory, 'link'))
    expect(await errorOf('link')).toBe('ELOOP')
    await sleep(20)
    expect(connections).toBe(0)
  })

  test('is missing, or something else: an error of the connection', async () => {
    expect(await errorOf('absent')).toBe('ENOENT')
    writeFileSync(join(directory, 'file'), '')
    expect(await errorOf('file')).toBe('ECONNREFUSED')
  })
})
