import { VarveError } from '../../errors.js'
import { emptyBitmap } from '../../memory/page-bitmap.js'
import type { AfterRecorded } from '../../working-set/recording.js'
import type { FaultAnswer, FaultOrder } from '../faults/fault-orders.js'
import type { PageServerConfig } from '../protocol/config.js'
import { FaultRecord } from '../protocol/fault-record.js'
import { recordedToJson } from '../protocol/recorded-answer.js'
import type { Handshake } from './receive-handshake.js'
import { changedPages } from './wanted-pages.js'

/** What a recording needs of the VM whose faults it records. */
export interface RecordedVm {
  config(): PageServerConfig
  /** Undefined until the VM's memory is there. */
  handshake(): Pick<Handshake, 'regions'> | undefined
  /** Whether a working set is being fetched ahead. */
  isPrefetching(): boolean
  /** Notes for a successor what is recorded: `writes`, or null. */
  keepState(recording: boolean | null): void
  order(order: Extract<OrderForVm, { kind: 'record' | 'recorded' }>): Promise<FaultAnswer>
}

/** An order to the fault thread; which VM it is about is said by the VM that passes it on. */
export type OrderForVm<Order = FaultOrder> = Order extends { readonly vm: number } ? Omit<Order, 'vm'> : never

/**
 * The recording of one VM's faults, on the server's main thread. It may begin
 * before there is memory to record.
 */
export class VmRecording {
  readonly #vm: RecordedVm
  /** Asked for before there was memory to record: `writes` of it. */
  #early: boolean | null = null
  #running = false
  /** A recording was on when the server before this one died. */
  #lost = false

  constructor(vm: RecordedVm) {
    this.#vm = vm
  }

  get running(): boolean {
    return this.#running
  }

  /** Another server's recording ended with it. */
  lose(): void {
    this.#lost = true
  }

  /** What the fault thread is to record from the first fault on: `writes` of it, or null. */
  takeEarly(): boolean | null {
    const early = this.#early
    this.#early = null
    return early
  }

  async begin(writes: boolean): Promise<object> {
    if (this.#vm.config().graduate)
      throw new VarveError(
        'RECORDER_UNRELIABLE',
        'this VM graduates: the page server brings its pages before the guest asks for them',
      )
    if (this.#vm.config().frozen !== null)
      throw new VarveError('RECORDER_UNRELIABLE', 'the snapshot of this live clone is still being made', {
        remedy: 'record once it is sealed',
      })
    // Pages that are fetched ahead would not be seen, and would be installed without protection.
    if (this.#vm.isPrefetching())
      throw new VarveError(
        'RECORDER_UNRELIABLE',
        'a working set is being fetched ahead; record after that, or restore without a working set',
      )
    if (this.#vm.handshake() === undefined) {
      if (this.#early !== null)
        throw new VarveError('RECORDER_UNRELIABLE', 'a recording of this VM is running; end it first')
      this.#early = writes
      this.#running = true
      return { fromTheFirst: true }
    }
    // Pages that it protects must not stay so should this server end.
    this.#vm.keepState(writes)
    const { error } = await this.#vm.order({ kind: 'record', writes })
    if (error !== undefined) throw new VarveError('RECORDER_UNRELIABLE', error)
    this.#running = true
    this.#lost = false
    return { fromTheFirst: false }
  }

  /** What was recorded by now. */
  async recorded(next: AfterRecorded): Promise<object> {
    const { layers, map, vmm } = this.#vm.config()
    const { recorded: found, error } =
      this.#vm.handshake() === undefined
        ? this.#nothingYet(next)
        : await this.#vm.order({ kind: 'recorded', next })
    if (found === undefined) {
      const lost = 'the recording was lost: the page server died, and another one took over'
      throw new VarveError('RECORDER_UNRELIABLE', this.#lost ? lost : (error ?? 'nothing is recorded'))
    }
    if (next === 'stop') {
      this.#running = false
      if (this.#vm.handshake() !== undefined) this.#vm.keepState(null)
    }
    const memory = { pid: vmm.pid, regions: this.#vm.handshake()?.regions ?? [], map, layers }
    const wanted = found.wanted ?? emptyBitmap(0, 0)
    return recordedToJson(found, await changedPages(memory, wanted))
  }

  #nothingYet(next: AfterRecorded): FaultAnswer {
    if (this.#early === null) return {}
    const recorded = new FaultRecord(this.#vm.config().map.pages, this.#early).copy()
    if (next === 'stop') this.#early = null
    return { recorded }
  }
}
