import { closeSync, constants, existsSync, fchownSync, fstatSync, ftruncateSync, openSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { VarveError } from '../../../errors.js'
import { pagesByLayer } from '../../../layer/pages-by-layer.js'
import type { LaunchedMachine } from '../../../machine/launched-machine.js'
import { loadedAndMapped } from '../../../mapper/loaded-and-mapped.js'
import type { MapReport } from '../../../mapper/map-into-vmm.js'
import type { MappableImage } from '../../../mapper/mappable-layers.js'
import { startMapping, warmMapper } from '../../../mapper/mapper.js'
import type { PrefaultStep } from '../../../mapper/plan.js'
import type { PageSet } from '../../../memory/page-set.js'
import { pageSizeBytes } from '../../../memory/units.js'
import type { OpenSnapshot } from '../../../store/snapshot-types.js'
import { dropName } from '../../../sys/drop-name.js'
import { fileIdentity } from '../../../sys/proc.js'
import type { Engine } from '../../engine.js'
import { type WarmedFile, warmFiles } from '../../page-cache/warm-files.js'
import { atMost, type PrefetchReport, type PrefetchWish } from '../../prefetch.js'
import { unawaited } from '../../unawaited.js'
import { usageByPageTables } from '../../usage/usage-by-page-tables.js'
import { mappableImage } from './mappable-image.js'
import { prefaultOrder, prefaultSteps } from './prefault-order.js'

const memoryName = 'memory'
const lookEveryMs = 2

/**
 * Maps the layers themselves over guest memory, within Firecracker, while it loads: it is told an empty
 * memory file, and held if it has mapped that and used nothing of it yet. Nothing is flattened, clones share
 * the layers' page cache, and no process is needed afterwards. x86_64, and the rights of ptrace(2) over
 * Firecracker. See docs/notes/ptrace-injection.md.
 */
export const mappedEngine: Engine = {
  name: 'mapped',
  warmUp: warmMapper,
  usage: usageByPageTables,
  prepareShared: async (snapshot, options) => void (await mappableImage(snapshot, options)),
  prepare: async (snapshot, { machine: launching, toPrefetch, phase, signal, onProgress }) => {
    const ready = planRestore(snapshot, toPrefetch, { signal, onProgress })
    // Awaited below, after what may fail first.
    const mapping = unawaited(
      phase('attach', () =>
        startMapping(async () => {
          const { image, prefault, prefaultBudgetMs } = await ready
          const machine = await launching
          const memoryFile = makeMemoryFile(machine, snapshot.map.pages)
          return { vmm: machine.identity, memoryFile, ...image, prefault, prefaultBudgetMs }
        }),
      ),
    )
    const { image, toRead } = await ready
    const reading = toRead === undefined ? undefined : warmFiles(toRead, signal)
    const { mapped } = await mapping
    if (reading !== undefined && toPrefetch !== null && toPrefetch.budgetMs > 0)
      await phase('prefetch', () => atMost(reading, toPrefetch.budgetMs))
    let report: MapReport
    return {
      memory: { backend: 'File', localName: memoryName },
      files: { files: image.layers, map: image.map },
      prefetch: reading && { report: besideGuest(reading, mapped, launching), resumeAfter: false },
      duringLoad: async (load) => {
        report = await loadedAndMapped(load, mapped)
        // No page of it is mapped any more.
        dropName((await launching).files.local(memoryName).hostPath)
      },
      report: () => ({ mapping: report }),
    }
  },
}

/** Until the thread that brings the pages has ended, too. */
async function besideGuest(
  reading: Promise<PrefetchReport>,
  mapped: Promise<MapReport>,
  launching: Promise<LaunchedMachine>,
): Promise<PrefetchReport> {
  const from = performance.now()
  const report = await reading
  try {
    const { thread } = (await mapped).prefault
    const { pid } = await launching
    if (thread === null) return report
    while (existsSync(`/proc/${pid}/task/${thread}`)) await sleep(lookEveryMs)
    return { ...report, ms: Math.max(report.ms, performance.now() - from) }
  } catch {
    // The restore reports it.
    return report
  }
}

interface RestorePlan {
  readonly image: MappableImage
  readonly prefault: readonly PrefaultStep[]
  readonly prefaultBudgetMs: number | null
  /** Undefined without a working set. */
  readonly toRead: readonly WarmedFile[] | undefined
}

async function planRestore(
  snapshot: OpenSnapshot,
  toPrefetch: PrefetchWish | null,
  options: Parameters<typeof mappableImage>[1],
): Promise<RestorePlan> {
  const image = await mappableImage(snapshot, options)
  if (toPrefetch === null) return { image, prefault: [], prefaultBudgetMs: null, toRead: undefined }
  const { workingSet, budgetMs } = toPrefetch
  const order = prefaultOrder(workingSet)
  return {
    image,
    prefault: prefaultSteps(workingSet, order),
    prefaultBudgetMs: budgetMs === Number.POSITIVE_INFINITY ? null : budgetMs,
    toRead: filesOf(image, order),
  }
}

/** What must be read, by file. */
function filesOf({ map, layers }: MappableImage, order: readonly PageSet[]): WarmedFile[] {
  const sets = order.map((set) => pagesByLayer(map, layers.length, set))
  return layers
    .map(({ path }, layer) => ({
      path,
      sets: sets.map((perLayer) => perLayer[layer] as PageSet).filter(({ pages }) => pages > 0),
    }))
    .filter((file) => file.sets.length > 0)
}

/**
 * An empty file of the image's size, for Firecracker to map; gives what identifies it. In a jail its
 * directory is another user's, so nothing there is followed or overwritten.
 */
function makeMemoryFile({ files, jailOwner }: LaunchedMachine, pages: number): string {
  const { hostPath } = files.local(memoryName)
  const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants
  const fd = openSync(hostPath, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
  try {
    ftruncateSync(fd, pages * pageSizeBytes)
    if (jailOwner !== null) fchownSync(fd, jailOwner.uid, jailOwner.gid)
    return fileIdentity(fstatSync(fd, { bigint: true }))
  } catch (error) {
    throw new VarveError(
      'WRITE_FAILED',
      `cannot make ${hostPath} of ${pages} pages: ${(error as Error).message}`,
      {
        cause: error,
      },
    )
  } finally {
    closeSync(fd)
  }
}
