import { writeSync } from 'node:fs'
import { failureToJson } from '../helper/failure-json.js'
import { standardInputLines } from '../helper/standard-input-lines.js'
import { endWithParent, outliveParent } from '../sys/parent-death.js'
import { type FreezeOrder, type FreezerAnswer, orderFromJson } from './freeze-protocol.js'
import { FrozenVm } from './frozen-vm.js'
import { resumeOrphan } from './resume-orphan.js'

/** As of a mapper: it may hold an extent map. */
const maxOrderLength = 256 * 1024 * 1024

// A process of its own, see `Mapper`: all it does is wait in waitpid and copy. Its end, however it comes,
// ends the twin and the frozen child. It ends with its owner; but while the guest stands still, it has the
// guest go on first.
process.on('SIGINT', () => {})
const owner = Number(process.argv[2])
endWithParent(owner)
let vm: FrozenVm | undefined
let resumeBy: string | null = null
try {
  answer({ state: 'ready' })
  for (const line of standardInputLines(maxOrderLength)) {
    try {
      const order = orderFromJson(line)
      answer(await obey(order))
      if (order.do === 'take') vm?.endTwin()
    } catch (error) {
      answer({ state: 'failed', error: failureToJson(error, 'INJECTION_FAILED') })
    }
  }
} catch (error) {
  // The owner has ended.
  if ((error as NodeJS.ErrnoException).code !== 'EPIPE') throw error
} finally {
  vm?.[Symbol.dispose]()
  // If that fails, the VM has ended as well, and there is no one to tell it to.
  if (resumeBy !== null) await resumeOrphan(resumeBy).catch(() => {})
}

async function obey(order: FreezeOrder): Promise<FreezerAnswer> {
  if (order.do === 'attach') {
    vm = FrozenVm.attach(order)
    return { state: 'attached', regions: vm.regions, heldMs: vm.heldMs }
  }
  if (order.do === 'release') {
    vm?.[Symbol.dispose]()
    vm = undefined
    guestGoesOn()
    return { state: 'ready' }
  }
  if (vm === undefined) throw new Error(`${order.do} before attach`)
  switch (order.do) {
    case 'hold':
      outliveParent()
      resumeBy = order.resumeBy
      vm.hold(order)
      return { state: 'holds' }
    case 'take':
      return { state: 'frozen', ...vm.take(order) }
    case 'keep-diff':
      return { state: 'kept', pages: vm.keepDiff(order) }
    case 'goes-on':
      guestGoesOn()
      return { state: 'goes-on' }
    case 'describe':
      return { state: 'described', ...vm.describe(order) }
    case 'write':
      return {
        state: 'written',
        pages: await vm.write(order, (pages, copiedBytes) =>
          answer({ state: 'progress', pages, copiedBytes }),
        ),
      }
  }
}

function guestGoesOn(): void {
  resumeBy = null
  endWithParent(owner)
}

function answer(value: FreezerAnswer): void {
  writeSync(1, `${JSON.stringify(value)}\n`)
}
