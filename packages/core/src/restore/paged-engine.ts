import type { Engine } from './engine.js'
import { startPageServer } from './page-server/start-page-server.js'

const socketName = 'uffd.sock'

/** A page server answers the guest's faults straight from the layers; nothing is flattened. */
export const pagedEngine: Engine = {
  name: 'paged',
  prepare: async ({ snapshot, machine: launching, randomAccess, phase, signal }) => {
    const machine = await launching
    const pageServer = await phase('page server', () =>
      startPageServer({
        directory: machine.paths.directory,
        vmm: machine.identity,
        socketPath: machine.files.local(socketName).hostPath,
        socketOwner: machine.jailOwner,
        layers: snapshot.files.map(({ path, storedPages }) => ({ path, pages: storedPages })),
        map: snapshot.map,
        randomAccess,
        ...(signal === undefined ? {} : { signal }),
      }),
    )
    machine.addHelper({ ...pageServer.identity, role: 'page-server' })
    machine.addHelper({ ...pageServer.guard, role: 'guard' })
    return { memory: { backend: 'Uffd', socketName }, pageServer }
  },
}
