import { join } from 'node:path'
import type { ProcessIdentity } from 'varve'
import type { ImageId } from 'varve/layers'
import { ensurePageServer, processIdentity, startPageServer } from 'varve/testing'
import { emptyPageSet, pageRange } from 'varve/working-sets'
import { startLines } from '../common/child.js'
import { oneLayerMap } from '../common/one-layer-map.js'
import type { Touched } from './fault-rows.js'

/** Something that answers the faults of a client. */
interface Serving {
  /** How long it took to install everything, where that was its task. */
  bulkMs(): Promise<number>
  end(): Promise<void>
}

/** Starts it for the client with this pid, which waits at the socket. */
export type StartServing = (socketPath: string, clientPid: number) => Promise<Serving>

/** `touch` and `sparse` fault by themselves; `wait` until all is installed, and check it then. */
export type ClientMode = 'touch' | 'sparse' | 'wait'

export const serveInC =
  (handler: string, layer: string, mode: string): StartServing =>
  async (socketPath) => {
    const server = startLines(handler, [socketPath, layer, mode])
    await server.line()
    return {
      bulkMs: async () => (JSON.parse(await server.line()) as { ms: number }).ms,
      end: () => server.kill(),
    }
  }

export interface PageServerSetting {
  /**
   * Where its page server is: one of its own, which starts on the CPU of this
   * process and has mapped nothing yet.
   */
  readonly runtime: string
  readonly directory: string
  readonly layer: string
  readonly pages: number
  /** Install everything, from the handshake on. */
  readonly bulk: boolean
  /** No neighbours. */
  readonly single: boolean
}

export const serveWithPageServer =
  ({ runtime, directory, layer, pages, bulk, single }: PageServerSetting): StartServing =>
  async (socketPath, clientPid) => {
    const processes = await ensurePageServer(runtime)
    const server = await startPageServer({
      runtime,
      directory,
      vmm: processIdentity(clientPid) as ProcessIdentity,
      socketPath,
      socketOwner: null,
      layers: [{ path: layer, pages }],
      map: oneLayerMap(pages),
      randomAccess: single,
      workingSet: bulk ? wholeImage(pages) : undefined,
    })
    return {
      bulkMs: async () => {
        const { state, failure, ms } = await server.prefetched({ wait: true })
        if (state !== 'finished' || ms === null) throw new Error(`fetching ahead: ${state}, ${failure}`)
        return ms
      },
      // Its guard first, which would go on otherwise.
      end: async () => {
        for (const it of [processes.guard, processes.server]) if (it !== null) process.kill(it.pid, 'SIGKILL')
      },
    }
  }

const wholeImage = (pages: number) => ({
  image: '1'.repeat(32) as ImageId,
  pages,
  recordedAtMs: 0,
  windowMs: 0,
  readOnly: pageRange(0, pages),
  written: emptyPageSet,
  groups: [],
  notes: {},
})

export interface OneClient {
  readonly client: string
  readonly clientCpu: number
  readonly directory: string
  readonly pages: number
  readonly mode: ClientMode
  readonly server: StartServing
  /** Leave the server running. */
  readonly keep: boolean
}

export async function serveOneClient(setting: OneClient): Promise<Touched> {
  const { client, clientCpu, directory, pages, mode, keep } = setting
  const socketPath = join(directory, 'uffd.sock')
  const peer = startLines('taskset', ['-c', String(clientCpu), client, socketPath, String(pages), mode])
  await peer.line()
  const served = await setting.server(socketPath, peer.child.pid as number)
  try {
    peer.child.stdin.write('go\n')
    if (mode !== 'wait') return JSON.parse(await peer.line()) as Touched
    const bulkMs = await served.bulkMs()
    peer.child.stdin.write('go\n')
    const { wrong } = JSON.parse(await peer.line()) as Touched
    return { mibPerS: Math.round((pages / 256 / bulkMs) * 1000), wrong }
  } finally {
    peer.child.stdin.end()
    await peer.ended
    if (!keep) await served.end()
  }
}
