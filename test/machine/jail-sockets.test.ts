import { once } from 'node:events'
import { chownSync, lchownSync, mkdirSync, renameSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { connectVsock } from 'varve'
import { expect, test } from 'vitest'
import { microWorldOfFile } from '../support/micro-world.js'

const uid = 12345
const world = microWorldOfFile()

/** Answers as Firecracker does for a guest program, and counts connections. */
async function listen(path: string) {
  const server = createServer()
  const listening = {
    connections: 0,
    [Symbol.asyncDispose]: async () => {
      server.close()
      await once(server, 'close')
    },
  }
  server.on('connection', (socket) => {
    listening.connections++
    socket.on('error', () => {})
    socket.once('data', () => socket.end('OK 1024\n'))
  })
  server.listen(path)
  await once(server, 'listening')
  return listening
}

test('a vsock socket below a jail is not connected to if its directory becomes a link', async () => {
  const [jail, host] = [world.path('jail'), world.path('host')]
  for (const path of [jail, `${jail}/run`, host]) mkdirSync(path, { mode: 0o700 })
  for (const path of [jail, `${jail}/run`]) chownSync(path, uid, uid)
  await using own = await listen(`${jail}/run/v.sock`)
  await using other = await listen(`${host}/v.sock`)
  const socket = await connectVsock(`${jail}/run/v.sock`, 52)
  socket.destroy()
  expect([own.connections, other.connections]).toEqual([1, 0])

  // As the jail's user can do at any moment.
  renameSync(`${jail}/run`, `${jail}/aside`)
  symlinkSync(host, `${jail}/run`)
  lchownSync(`${jail}/run`, uid, uid)
  await expect(connectVsock(`${jail}/run/v.sock`, 52, { attempts: 1 })).rejects.toMatchObject({
    code: 'API_TRANSPORT',
    message: expect.stringContaining(`run is a symbolic link of user ${uid}`),
  })
  expect([own.connections, other.connections]).toEqual([1, 0])
})
