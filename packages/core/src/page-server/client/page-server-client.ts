import { existsSync, renameSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { VarveError } from '../../errors.js'
import type { FaultSource } from '../../working-set/recording.js'
import type { CounterName } from '../faults/fault-counters.js'
import type { ServedPrefetch } from '../prefetch/prefetch.js'
import { askPageServer, isGone, type Request } from '../protocol/ask-page-server.js'
import { type PageServerConfig, pageServerConfigToJson, readPageServerConfig } from '../protocol/config.js'
import type { ServingProcesses } from '../protocol/control.js'
import { pageServerFiles } from '../protocol/page-server-files.js'
import { recordedFromJson } from '../protocol/recorded-answer.js'
import { type GraduatedVm, readGraduated, type ServedGraduation } from '../protocol/served-graduation.js'

/** What a page server has done for one VM so far, by the name of the counter. */
export type PageServerStats = Readonly<Record<CounterName, number>>

/** What can be asked of a running page server, by its VM's owner. */
export interface PageServerClient extends FaultSource {
  stats(options?: { readonly signal?: AbortSignal | undefined }): Promise<PageServerStats>
  /** Who serves the VM at the moment, and who guards that. */
  processes(options?: { readonly signal?: AbortSignal | undefined }): Promise<ServingProcesses>
  /**
   * What fetching ahead did so far. With `wait`, once it has come to an end.
   * INVALID_ARGUMENT if there is none.
   */
  prefetched(options?: WaitOptions): Promise<ServedPrefetch>
  /**
   * How far the VM is on its way to needing no server. With `wait`, once that has an end.
   * INVALID_ARGUMENT if it is not to.
   */
  graduation(options?: WaitOptions): Promise<ServedGraduation>
}

/**
 * Has the VM in `directory` served from layers in place of frozen memory, by this server and its successors.
 * The configuration is replaced first: whichever server comes next reads the new one.
 */
export async function replaceFrozen(
  directory: string,
  { layers, map }: Pick<PageServerConfig, 'layers' | 'map'>,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const { config: path, control } = pageServerFiles(directory)
  const config = pageServerConfigToJson({ ...readPageServerConfig(path), layers, map, frozen: null })
  const draft = `${path}.${process.pid}`
  writeFileSync(draft, config, { mode: 0o600 })
  renameSync(draft, path)
  await askSuccessor(control, { op: 'reread' }, options)
}

interface WaitOptions {
  readonly wait?: boolean
  /** Aborts the work: INTERRUPTED, or TIMEOUT if it is a signal of `AbortSignal.timeout`. */
  readonly signal?: AbortSignal | undefined
}

/** The server of the VM in `directory`, whose image has `pages`. Nothing is asked yet. */
export function pageServerClient(directory: string, pages: number): PageServerClient {
  const { control: path, graduated } = pageServerFiles(directory)
  /** Of a VM that the server has left the last answers lie in its directory. */
  const ask = async (op: keyof GraduatedVm, { wait, signal }: WaitOptions = {}): Promise<unknown> => {
    try {
      return await askSuccessor(path, { op, wait }, { signal })
    } catch (error) {
      const answers = isGone(error) ? readGraduated(graduated) : undefined
      if (answers === undefined) throw error
      if (answers[op] === null)
        throw new VarveError('INVALID_ARGUMENT', 'no working set was given to this VM to fetch ahead')
      return answers[op]
    }
  }
  /** With `wait` until it has come to an end. */
  const report = async <Report extends { readonly state: string }>(
    op: keyof GraduatedVm,
    { wait = false, signal }: WaitOptions = {},
  ): Promise<Report> => {
    for (;;) {
      const found = (await ask(op, { wait, signal })) as Report
      if (!wait || (found.state !== 'waiting' && found.state !== 'running')) return found
    }
  }
  return {
    stats: (ofCall) => ask('stats', ofCall) as Promise<PageServerStats>,
    processes: (ofCall) => askSuccessor(path, { op: 'processes' }, ofCall) as Promise<ServingProcesses>,
    prefetched: (ofCall) => report<ServedPrefetch>('prefetched', ofCall),
    graduation: (ofCall) => report<ServedGraduation>('graduation', ofCall),
    record: async ({ writes, signal }) => {
      const answer = await askSuccessor(path, { op: 'record', writes }, { signal })
      return { fromTheFirst: (answer as { fromTheFirst?: unknown }).fromTheFirst === true }
    },
    recorded: async ({ next = 'go-on', signal } = {}) => {
      try {
        return recordedFromJson(await askPageServer(path, { op: 'recorded', next }, { signal }), pages)
      } catch (cause) {
        // No successor knows more: what was recorded was in the memory of the server that has ended.
        if (isGone(cause))
          throw new VarveError('RECORDER_UNRELIABLE', 'the recording was lost: the page server has ended', {
            cause,
          })
        throw cause
      }
    },
  }
}

/**
 * A successor listens within some 100 ms; on an emulated machine, where the guard itself is
 * still starting, within seconds.
 */
const takeOverMs = 15_000

/**
 * A request that may come twice: if the server dies, its successor answers. A recording
 * that the first one began is lost.
 */
async function askSuccessor(
  path: string,
  request: Request,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<unknown> {
  for (const deadline = performance.now() + takeOverMs; ; await sleep(5)) {
    try {
      return await askPageServer(path, request, options)
    } catch (error) {
      // A server that ends in good order, or must kill the VM, removes its socket.
      if (!isGone(error) || !existsSync(path) || performance.now() > deadline) throw error
    }
  }
}
