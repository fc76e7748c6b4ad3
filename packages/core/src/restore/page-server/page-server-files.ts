import { join } from 'node:path'

/** The server's own folder in the VM's directory, and what is in it. */
export function pageServerFiles(directory: string) {
  const own = join(directory, 'page-server')
  return {
    own,
    config: join(own, 'config.json'),
    workingSet: join(own, 'working-set'),
    control: join(own, 'control.sock'),
    serverLog: join(own, 'server.log'),
    guardLog: join(own, 'guard.log'),
  }
}
