import { join } from 'node:path'

/**
 * Of the orders and of the files in the server's directory. A Varve that speaks another
 * version has a server of its own.
 */
const pageServerProtocol = 2

/** What the server keeps in one VM's directory, in a folder of its own. */
export function pageServerFiles(directory: string) {
  const own = join(directory, 'page-server')
  return {
    own,
    config: join(own, 'config.json'),
    workingSet: join(own, 'working-set'),
    /** Regions and recording, once the VM has handed its memory over. */
    state: join(own, 'state.json'),
    /** Bits of the pages that the guest gave back. */
    removed: join(own, 'removed'),
    control: join(own, 'control.sock'),
    /** It needs the server no more: what was brought for that. */
    graduated: join(own, 'graduated.json'),
    serverLog: join(own, 'server.log'),
  }
}

/** What a runtime directory holds of its page server. */
export function pageServerRoot(runtime: string) {
  const own = join(runtime, `page-server-${pageServerProtocol}`)
  return {
    own,
    /** Where orders come in. */
    control: join(own, 'control.sock'),
    /** Held by who starts a server. */
    startLock: join(own, 'start.lock'),
    /** Held by the server, as long as it lives. */
    serverLock: join(own, 'server.lock'),
    /** One file for each VM that is served: what a guard or a successor learns them from. */
    vms: join(own, 'vms'),
    serverLog: join(own, 'server.log'),
    guardLog: join(own, 'guard.log'),
    /** To whom the last server left that did so by order. */
    successor: join(own, 'successor.json'),
    /** When servers died, lately. */
    deaths: join(own, 'deaths.json'),
  }
}
