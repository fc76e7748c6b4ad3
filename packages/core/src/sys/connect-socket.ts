import { closeSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { descriptorPath } from './open-beneath.js'
import { openTrusted } from './open-trusted.js'

/**
 * Connects to the Unix socket at this path, and follows no link that another user made: connect(2) would
 * follow it, and a jailed VMM could put a link to any socket of the host in place of its own socket, or of a
 * directory above it. Errors come as the socket's `error` event, as those of `net.connect` do; a link that is
 * refused (`openTrusted`) is ELOOP.
 */
export function connectSocket(path: string): Socket {
  let fd: number
  try {
    fd = openTrusted(path)
  } catch (error) {
    // An error that came at once would end the process: an HTTP request listens to its socket only a tick
    // later, as net.connect expects. So this connects to what cannot be there, and has that error tell what
    // really failed.
    const socket = connect('/proc/self/fd/-1')
    const { message } = error as Error
    return socket.once('error', (failure) => Object.assign(failure, error, { message }))
  }
  // The kernel resolves this name to the file that was opened, even if another file has its path by then.
  const socket = connect(descriptorPath(fd))
  // net.connect calls connect(2) for a path before it returns, so the descriptor is no longer needed.
  closeSync(fd)
  return socket
}
