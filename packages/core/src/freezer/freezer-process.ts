import { fileURLToPath } from 'node:url'
import { VarveError } from '../errors.js'
import { describeExit } from '../firecracker/vmm-exit.js'
import { LineHelper } from '../helper/line-helper.js'
import type { FreezerAnswer } from './freeze-protocol.js'

const freezerProgram = fileURLToPath(new URL('freezer-main.js', import.meta.url))

/** Clones come in bursts, and an idle freezer takes some 60 MB. As of the page server. */
const lingerMs = 10_000

/** The process of a freezer: of one capture at a time. It ends with this process. */
export class FreezerProcess {
  /** Whether it traces the VMM itself: then its death would be the VMM's. */
  holdsVmm = false
  readonly helper = new LineHelper<FreezerAnswer>({
    program: freezerProgram,
    cannotStart: (cause) =>
      new VarveError('LAUNCH_FAILED', `cannot start the freezer: ${cause.message}`, { cause }),
    hasEnded: (code, signal, lastWords) =>
      new VarveError(
        'INJECTION_FAILED',
        `the freezer ended (${describeExit({ code, signal })})${this.holdsVmm ? ', and the VM with it, if it held it' : ''}${lastWords === '' ? '' : `: ${lastWords}`}`,
      ),
  })
  /** Whether it has said so. */
  isReady = false
  /** Orders name files relative to it. */
  readonly directory = process.cwd()
}

let idle: { readonly process: FreezerProcess; readonly timer: NodeJS.Timeout } | undefined

/** Has a freezer start now, unless one waits already. */
export function warmFreezer(): void {
  if (idle?.process.helper.usable !== true) keepFreezerProcess(new FreezerProcess())
}

/** One that waits, or a new one. */
export function takeFreezerProcess(): FreezerProcess {
  const waiting = takeIdle()
  if (waiting?.helper.usable === true && waiting.directory === process.cwd()) return waiting
  waiting?.helper.kill()
  return new FreezerProcess()
}

/** The process holds nothing frozen. */
export function keepFreezerProcess(process: FreezerProcess): void {
  takeIdle()?.helper.kill()
  const timer = setTimeout(endIdleFreezer, lingerMs)
  timer.unref()
  idle = { process, timer }
}

/** Ends one that waits. */
export function endIdleFreezer(): void {
  takeIdle()?.helper.kill()
}

function takeIdle(): FreezerProcess | undefined {
  const waiting = idle
  idle = undefined
  clearTimeout(waiting?.timer)
  return waiting?.process
}
