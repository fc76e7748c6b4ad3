import type { ExtentMap } from '../../../layer/extent-map.js'
import type { FrozenSource } from '../../../memory/frozen-source.js'
import { ensurePageServer } from '../../../page-server/client/ensure-page-server.js'
import type { PageServerClient } from '../../../page-server/client/page-server-client.js'
import { startPageServer } from '../../../page-server/client/start-page-server.js'
import { endLeaseOfGraduated } from '../../../page-server/protocol/served-graduation.js'
import { placeThread, threadsNamed } from '../../../sys/affinity.js'
import type { Engine, PreparedMemory, RestoreWishes } from '../../engine.js'
import type { MemoryFiles } from '../../memory-files.js'
import type { PrefetchReport } from '../../prefetch.js'
import { unawaited } from '../../unawaited.js'
import { usageByPageServer } from './usage-by-page-server.js'

const socketName = 'uffd.sock'

/** A page server answers the guest's faults straight from the layers; nothing is flattened. */
export const pagedEngine: Engine = {
  name: 'paged',
  bringsHugePages: true,
  usage: usageByPageServer,
  prepare: (snapshot, wishes) => prepareServed(snapshot, null, wishes),
  warmUpFrozen: async (runtime, options) => void (await ensurePageServer(runtime, options)),
  prepareFrozen: (snapshot, wishes) => prepareServed(snapshot, snapshot.frozen, wishes),
}

/** `frozen`: the last of the snapshot's files is this memory, not a layer. */
async function prepareServed(
  snapshot: MemoryFiles & { readonly map: ExtentMap },
  frozen: FrozenSource | null,
  wishes: RestoreWishes,
): Promise<PreparedMemory> {
  const layers = frozen === null ? snapshot.files : snapshot.files.slice(0, -1)
  const { machine: launching, runtime, randomAccess, toPrefetch, graduate, faultCpu, phase, signal } = wishes
  // If none is there, it starts while Firecracker does.
  const server = unawaited(phase('page server start', () => ensurePageServer(runtime, { signal })))
  const machine = await launching
  await server
  const pageServer = await phase('page server', () =>
    startPageServer({
      runtime,
      directory: machine.paths.directory,
      vmm: machine.identity,
      socketPath: machine.files.local(socketName).hostPath,
      socketOwner: machine.jailOwner,
      frozen,
      layers: layers.map(({ path, storedPages }) => ({ path, pages: storedPages })),
      map: snapshot.map,
      randomAccess,
      workingSet: toPrefetch?.path ?? toPrefetch?.workingSet,
      graduate,
      faultCpu,
      signal,
    }),
  )
  let loaded = () => {}
  const load = new Promise<void>((resolve) => {
    loaded = resolve
  })
  return {
    memory: { backend: 'Uffd', socketName },
    files: snapshot,
    pageServer,
    afterLoad: () => {
      loaded()
      // Threads of the vCPUs are there once it is loaded.
      if (faultCpu !== undefined)
        for (const thread of threadsNamed(machine.pid, 'fc_vcpu ')) placeThread(thread, [faultCpu])
      if (graduate) endLeaseOfGraduated(machine.paths.directory)
    },
    // There is nothing to ask before: the guest's memory is there only once it is being loaded.
    prefetch: toPrefetch
      ? {
          report: load.then(() => prefetched(pageServer, signal)),
          resumeAfter: toPrefetch.budgetMs > 0,
        }
      : undefined,
  }
}

/** Never rejects: a VM whose pages were not fetched ahead asks for them. */
async function prefetched(
  pageServer: PageServerClient,
  signal: AbortSignal | undefined,
): Promise<PrefetchReport> {
  const begin = performance.now()
  try {
    const report = await pageServer.prefetched({ wait: true, signal })
    const { state, plannedPages, requests, ms, failure } = report
    const halted = state === 'halted' ? 'the guest gave memory back' : null
    return { pages: plannedPages, requests, ms: ms ?? performance.now() - begin, failure: failure ?? halted }
  } catch (error) {
    return { pages: 0, requests: 0, ms: performance.now() - begin, failure: (error as Error).message }
  }
}
