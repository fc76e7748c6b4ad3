import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { connectSocket } from './connect-socket.js'

test('an HTTP request to a socket that has gone fails, and its process lives', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'varve-connect-'))
  try {
    const agent = new Agent()
    agent.createConnection = () => connectSocket(join(directory, 'gone.sock'))
    const asked = request({ agent, path: '/' })
    asked.end()
    // An error that came before the request listens would be an uncaught exception, which vitest reports as a
    // failure.
    const [error] = (await once(asked, 'error')) as [Error]
    expect(error).toMatchObject({ code: 'ENOENT', message: expect.stringContaining('gone.sock') })
  } finally {
    rmSync(directory, { recursive: true })
  }
})
