import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { ProcessIdentity } from 'varve'
import { processIdentity, startPageServer } from 'varve/testing'
import { compileC, startLines } from '../common/child.js'
import { hundredths } from '../common/numbers.js'
import { oneLayerMap } from '../common/one-layer-map.js'
import { say } from '../common/results.js'
import type { Scratch } from '../common/scratch.js'
import type { Touched } from '../faults/fault-rows.js'
import { makeLayer } from '../faults/layer.js'
import { type HelperCase, withHelper } from './processes.js'
import type { StartTimes } from './summary.js'

/** The least that the client takes. */
const pages = 13

/** What plays a VM whose first pages a new page server brings. */
export interface FirstPages {
  readonly client: string
  readonly layer: string
}

/** Undefined if there is no C compiler. */
export function prepareFirstPages(scratch: Scratch): FirstPages | undefined {
  const [client, layer] = [scratch.path('uffd-client'), scratch.path('layer')]
  if (!compileC('uffd-client.c', client)) {
    say('NOT MEASURED without a C compiler: the first pages of a VM')
    return undefined
  }
  makeLayer(layer, pages)
  return { client, layer }
}

/**
 * From the start of a page server until it has taken on a VM and answered its first faults. This is what a
 * restore waits for: the server may say that it is ready while its threads still start.
 */
export async function untilFirstPages(
  node: string,
  server: HelperCase,
  runtime: string,
  { client, layer }: FirstPages,
): Promise<StartTimes> {
  const directory = join(runtime, 'vm')
  mkdirSync(directory, { mode: 0o700 })
  // Where the server lists its VMs: its starter makes it, too.
  mkdirSync(join(runtime, 'page-server-2', 'vms'), { mode: 0o700 })
  const socketPath = join(directory, 'uffd.sock')
  const vmm = startLines(client, [socketPath, String(pages), 'touch'])
  try {
    await vmm.line()
    const from = performance.now()
    return await withHelper(node, server, async () => {
      await startPageServer({
        runtime,
        directory,
        vmm: processIdentity(vmm.child.pid as number) as ProcessIdentity,
        socketPath,
        socketOwner: null,
        layers: [{ path: layer, pages }],
        map: oneLayerMap(pages),
        randomAccess: false,
      })
      vmm.child.stdin.write('go\n')
      const { wrong } = JSON.parse(await vmm.line()) as Touched
      const ms = hundredths(performance.now() - from)
      if (wrong !== 0) throw new Error(`${wrong} pages were wrong`)
      return { ms }
    })
  } finally {
    await vmm.kill()
  }
}
