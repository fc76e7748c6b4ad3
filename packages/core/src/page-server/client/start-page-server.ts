import { mkdirSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { VarveError } from '../../errors.js'
import { assertSocketPath } from '../../firecracker/vmm-files.js'
import type { ProcessIdentity } from '../../sys/proc.js'
import { readSmallFile } from '../../sys/small-file.js'
import type { WorkingSet } from '../../working-set/working-set.js'
import { maxWorkingSetBytes, workingSetToBytes } from '../../working-set/working-set-bytes.js'
import { askPageServer, isGone } from '../protocol/ask-page-server.js'
import { type PageServerConfig, pageServerConfigToJson } from '../protocol/config.js'
import type { ServingProcesses } from '../protocol/control.js'
import { pageServerFiles, pageServerRoot } from '../protocol/page-server-files.js'
import { ensurePageServer } from './ensure-page-server.js'
import { type PageServerClient, pageServerClient } from './page-server-client.js'

/** The page server of one VM, as the VM's owner sees it. */
export interface PageServer extends PageServerClient {
  /**
   * The process that serves the VM, and maybe others; another one may have taken
   * over since: `processes` tells.
   */
  readonly identity: ProcessIdentity
}

interface StartPageServerOptions
  extends Omit<PageServerConfig, 'controlPath' | 'frozen' | 'workingSetPath' | 'graduate' | 'faultCpu'> {
  /** What the map's source `layers.length` is. Neither `workingSet` nor `graduate` goes with it. */
  readonly frozen?: PageServerConfig['frozen'] | undefined
  /** The VM's directory: configuration and control socket go into `page-server` below it. */
  readonly directory: string
  /** The server of this runtime directory serves the VM; if there is none, one is started. */
  readonly runtime: string
  /**
   * Its pages are installed from the handshake on, alongside those that the guest asks
   * for. It must be of this image. A path: of a file that holds it, and may go once this resolves.
   */
  readonly workingSet?: WorkingSet | string | undefined
  /**
   * Bring all of memory alongside the guest, and then leave the VM. Nothing can be
   * recorded of such a VM. Default false.
   */
  readonly graduate?: boolean | undefined
  /** Answer its faults on this CPU. Default: anywhere. */
  readonly faultCpu?: number | null | undefined
  readonly signal?: AbortSignal | undefined
}

/** There is none; there is one that is just about to end; and now there is one. */
const maxTries = 3

/**
 * Has the page server serve a VM. When it resolves, Firecracker may connect. Errors: ALREADY_EXISTS (this VM
 * was served before); the server's own about the configuration and the layers; those of `ensurePageServer`.
 */
export async function startPageServer(options: StartPageServerOptions): Promise<PageServer> {
  const { signal, workingSet, runtime, graduate = false, faultCpu = null, frozen = null, ...rest } = options
  // The server has a working directory of its own.
  const directory = resolve(options.directory)
  const files = pageServerFiles(directory)
  makeOwnDirectory(files.own)
  // Nothing reads either file before the order, and both go with the machine: to
  // sync them would only take time.
  if (workingSet !== undefined) writeFileSync(files.workingSet, bytesOf(workingSet), { mode: 0o600 })
  const config: PageServerConfig = {
    ...rest,
    directory,
    socketPath: assertSocketPath(resolve(options.socketPath)),
    layers: options.layers.map(({ path, pages }) => ({ path: resolve(path), pages })),
    frozen,
    controlPath: assertSocketPath(files.control),
    workingSetPath: workingSet === undefined ? null : files.workingSet,
    graduate,
    faultCpu,
  }
  writeFileSync(files.config, pageServerConfigToJson(config), { mode: 0o600 })
  const { server } = await orderService(runtime, files.config, signal)
  return { identity: server, ...pageServerClient(directory, config.map.pages) }
}

/** Orders the server to serve the VM of a configuration file. */
export async function orderService(
  runtime: string,
  configPath: string,
  signal?: AbortSignal | undefined,
): Promise<ServingProcesses> {
  for (let tries = 1; ; tries++) {
    try {
      const order = { op: 'serve', config: configPath }
      const answer = await askPageServer(pageServerRoot(runtime).control, order, { signal })
      return answer as ServingProcesses
    } catch (error) {
      // None is there, or it was about to end.
      if (!isGone(error) || tries === maxTries) throw error
      await ensurePageServer(runtime, { signal })
    }
  }
}

const bytesOf = (workingSet: WorkingSet | string): Buffer =>
  typeof workingSet === 'string'
    ? readSmallFile(workingSet, maxWorkingSetBytes)
    : workingSetToBytes(workingSet)

function makeOwnDirectory(path: string): void {
  try {
    mkdirSync(path, { mode: 0o700 })
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST') throw cause
    throw new VarveError('ALREADY_EXISTS', `${path} exists: a page server was started for this VM before`, {
      remedy: 'launch another VM; the logs of this one say how its page server ended',
      cause,
    })
  }
}
