import { lstatSync, mkdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { isVarveError, VarveError } from '../../errors.js'
import { assertSocketPath } from '../../firecracker/vmm-files.js'
import { type Started, said, startProcess, startTimeoutMs } from '../../helper/started-process.js'
import { lock } from '../../sys/file-lock.js'
import { killProcess } from '../../sys/pidfd.js'
import type { ProcessIdentity } from '../../sys/proc.js'
import { anotherServes } from '../process/lock-server.js'
import type { GuardOrder, PageServerOrder } from '../process/orders.js'
import { copyProgram, programsLock, removeUnusedPrograms } from '../process/program-copy.js'
import { programsDirectory } from '../process/programs-directory.js'
import { askPageServer, isAnswer, isGone } from '../protocol/ask-page-server.js'
import type { ServingProcesses } from '../protocol/control.js'
import { pageServerRoot } from '../protocol/page-server-files.js'

/**
 * A server without a VM ends after this time: clones come in bursts, and two idle processes take some 100 MB.
 */
const defaultLingerMs = 10_000

/**
 * The page server of a runtime directory; if none is there, it is started, with its guard, and both
 * are ready when this resolves. Errors: LAUNCH_FAILED with the last words of who did not start;
 * TIMEOUT; INTERRUPTED; PATH_INVALID.
 */
export async function ensurePageServer(
  runtime: string,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<ServingProcesses> {
  const there = await present(pageServerRoot(runtime).control, signal)
  return there ?? (await startInTurn(runtime, signal, (found) => found))
}

/**
 * Starts one, in turn with other processes; `settled` says of the one that is found then whether that is
 * enough.
 */
async function startInTurn(
  runtime: string,
  signal: AbortSignal | undefined,
  settled: (found: ServingProcesses) => ServingProcesses | undefined,
): Promise<ServingProcesses> {
  const root = pageServerRoot(runtime)
  for (const directory of [root.own, root.vms]) makePrivateDirectory(directory)
  assertSocketPath(root.control)
  await using _starting = await lock(root.startLock, { signal })
  const deadline = performance.now() + startTimeoutMs
  for (;;) {
    const found = await present(root.control, signal)
    const enough = found && settled(found)
    if (enough !== undefined) return enough
    try {
      return await start(runtime, signal, found?.server)
    } catch (error) {
      // A guard may be taking over: it has the lock, and will listen in a moment.
      const taken = isVarveError(error, 'LAUNCH_FAILED') && error.details.status === anotherServes
      if (!taken || performance.now() > deadline) throw error
      await sleep(20)
    }
  }
}

async function present(
  control: string,
  signal: AbortSignal | undefined,
): Promise<ServingProcesses | undefined> {
  try {
    return (await askPageServer(control, { op: 'processes' }, { signal })) as ServingProcesses
  } catch (error) {
    if (isGone(error)) return undefined
    throw error
  }
}

/**
 * Has another process serve the VMs of a runtime directory, of this version of Varve, without the guests
 * noticing more than a pause: it starts first, then the present one leaves, then it takes over. If none is
 * there, one is started. Errors: as `ensurePageServer`; RECORDER_UNRELIABLE while a recording is on,
 * MACHINE_STATE if a VM has been loading for 5 s; then nothing has changed. LAUNCH_FAILED may also mean that
 * the new process died after the present one had left: then the guard of one of them serves the VMs.
 */
export async function handOverPageServer(
  runtime: string,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): Promise<ServingProcesses> {
  return startInTurn(runtime, signal, () => undefined)
}

/** `after`: the server that shall leave once the new one and its guard stand by. */
async function start(
  runtime: string,
  signal: AbortSignal | undefined,
  after?: ProcessIdentity,
): Promise<ServingProcesses> {
  const root = pageServerRoot(runtime)
  const wished = Number(process.env.VARVE_PAGE_SERVER_LINGER_MS)
  const order = { runtime: resolve(runtime), lingerMs: wished > 0 ? wished : defaultLingerMs }
  const serving: PageServerOrder = after === undefined ? order : { ...order, after }
  const programs = programsDirectory(root.own)
  makePrivateDirectory(programs)
  // Keep the copy until the new processes hold it themselves.
  await using _programs = await lock(programsLock(programs), { signal })
  const folder = copyProgram(programs)
  const server = startProcess(folder, 'page-server-main.js', serving, root.serverLog)
  let guard: Started | undefined
  // VMs may depend on the new server.
  let serves = false
  try {
    const guarding: GuardOrder = { ...order, server: server.identity }
    guard = startProcess(folder, 'guard-main.js', guarding, root.guardLog)
    if (after !== undefined) {
      await Promise.all([said(server, 'standing by', signal), said(guard, 'watching', signal)])
      // From here on there is no way back, unless the old server says that it stays.
      serves = true
      await askPageServer(root.control, { op: 'leave', ...server.identity }, { signal }).catch(
        (error: unknown) => {
          if (isAnswer(error)) serves = false
          // If it has ended meanwhile, by itself or not, the new one has its turn all the same.
          if (!isGone(error)) throw error
        },
      )
      await said(server, 'ready', undefined)
    } else await Promise.all([said(server, 'ready', signal), said(guard, 'watching', signal)])
    serves = true
    await askPageServer(root.control, { op: 'guard', ...guard.identity }, {})
    removeUnusedPrograms(programs)
  } catch (error) {
    // Never kill the guard: if it is not needed, it ends by itself; if the server has died, its VMs have only
    // the guard.
    if (!serves) killProcess(server.identity, 'SIGKILL')
    throw error
  } finally {
    for (const started of [guard, server]) started?.child.stdout?.destroy()
  }
  return { server: server.identity, guard: guard.identity }
}

/** In a shared temporary folder another user could have made it first. */
function makePrivateDirectory(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 })
  const { uid, mode } = lstatSync(path)
  if (uid !== process.getuid?.() || (mode & 0o077) !== 0)
    throw new VarveError('PATH_INVALID', `${path} is not this user’s alone (0700)`, {
      remedy: 'remove it, chmod 700 it, or set $VARVE_RUNTIME_DIR',
    })
}
