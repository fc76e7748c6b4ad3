import { lchownSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import type { PageServerConfig } from '../protocol/config.js'

/**
 * Listens where Firecracker hands over its userfaultfd. `connected` gets each connection, and says whether it
 * is the one: then no other is accepted. Resolves once Firecracker may connect.
 */
export async function listenForHandshake(
  { socketPath, socketOwner }: Pick<PageServerConfig, 'socketPath' | 'socketOwner'>,
  connected: (socket: Socket) => boolean,
): Promise<Server> {
  // pauseOnConnect: Node must not read, because a plain read drops the
  // descriptor that comes with the bytes.
  const listener = createServer({ pauseOnConnect: true }, (socket) => {
    socket.on('error', () => {})
    // One connection, ever. A second one can have been accepted together with the first.
    if (connected(socket)) listener.close()
    else socket.destroy()
  })
  try {
    await new Promise<void>((resolve, reject) => {
      listener.once('error', reject)
      listener.listen(socketPath, resolve)
    })
    // Of a link only the link itself.
    if (socketOwner) lchownSync(socketPath, socketOwner.uid, socketOwner.gid)
    return listener
  } catch (error) {
    listener.close()
    throw error
  }
}
