import { openApiTransport } from '../firecracker/api-transport.js'

/**
 * Lets a guest go on that is paused, for a process which paused it, and has ended. Firecracker finishes first
 * what that process has asked for.
 */
export async function resumeOrphan(socketPath: string): Promise<void> {
  using api = openApiTransport(socketPath)
  const { body } = await api.exchange('GET', '/', undefined)
  if ((body as { state?: unknown } | undefined)?.state === 'Paused')
    await api.exchange('PATCH', '/vm', { state: 'Resumed' })
}
