import { join, resolve } from 'node:path'
import type { VarveError } from '../errors.js'
import type { ApiClient, CallOptions } from '../firecracker/api-client.js'
import type { FullVmConfiguration, InstanceInfo } from '../firecracker/api-types.js'
import type { FirecrackerVersion } from '../firecracker/version.js'
import type { VmmExit } from '../firecracker/vmm-exit.js'
import type { VmmFiles } from '../firecracker/vmm-files.js'
import type { VmmPaths } from '../firecracker/vmm-paths.js'
import type { GuestAgentPlace } from '../guest-agent-place.js'
import { inspectCustom } from '../inspect-line.js'
import type { Labels } from '../labels.js'
import type { Holder } from '../sys/holder.js'
import type { ProcessIdentity } from '../sys/proc.js'
import { type AttachedDisk, disksOf } from './disks.js'
import type { LiveVm, MachineState } from './live-vm.js'
import type { MachineRecord } from './machine-record.js'
import { type StandingMachine, type Stood, standStill } from './stand-still.js'
import type { SnapshotOptions, WrittenSnapshot } from './write-snapshot.js'

/**
 * What a machine offers in every state. Handles of one machine share one VM: after a step that changes
 * the state only the handle which that step returned may go on; the older one throws MACHINE_STATE.
 * Disposing any handle stops the VM.
 */
export abstract class MachineHandle implements AsyncDisposable {
  protected readonly vm: LiveVm
  readonly #generation: number
  readonly #state: MachineState

  constructor(vm: LiveVm) {
    this.vm = vm
    this.#generation = vm.generation
    this.#state = vm.state
  }

  get id(): string {
    return this.vm.record.id
  }
  get pid(): number {
    return this.vm.process.identity.pid
  }
  get identity(): ProcessIdentity {
    return this.vm.process.identity
  }
  /** The VMM as the holder of leases: any process can tell from it whether the VMM still lives. */
  get holder(): Holder {
    return this.vm.holder
  }
  get firecrackerVersion(): FirecrackerVersion {
    return this.vm.api.version
  }
  /** Private directory, API socket, console files, logs. */
  get paths(): VmmPaths {
    return this.vm.process.paths
  }
  /** How Firecracker names host files; needed for paths given to `api` when a jailer is used. */
  get files(): VmmFiles {
    return this.vm.process.files
  }
  /** Owner of files in the jail, if there is one. */
  get jailOwner(): { readonly uid: number; readonly gid: number } | null {
    const { jail } = this.vm.record
    return jail && { uid: jail.uid, gid: jail.gid }
  }
  /** Unix socket for `connectVsock`, or null if the guest has no vsock device. */
  get vsockPath(): string | null {
    return this.vm.record.vsockPath
  }
  /** Where the guest has the agent of `@varve/guest`; null if it is not known to have one. */
  get guestAgent(): GuestAgentPlace | null {
    return this.vm.record.guestAgent
  }
  /**
   * Loaded from a snapshot, and paused since: no program of the guest can know yet that it is in another
   * machine.
   */
  get pausedSinceLoad(): boolean {
    return this.vm.currentRecord.pausedSinceLoad
  }
  /** Whether it outlives this process, so that no handle of this process can take a step any more. */
  get detached(): boolean {
    return this.vm.detached
  }
  /** Whether written pages are logged, so that a Diff can be taken. */
  get dirtyTracking(): boolean {
    return this.vm.record.dirtyTracking
  }
  /** The snapshot that the next Diff counts from, see `MachineRecord.snapshotId`. */
  get snapshotId(): string | null {
    return this.vm.currentRecord.snapshotId
  }
  /** See `MachineRecord.owed`. */
  get owed(): MachineRecord['owed'] {
    return this.vm.currentRecord.owed
  }
  /** See `MachineRecord.frozen`; for `frozenMemory`. */
  get frozen(): MachineRecord['frozen'] {
    return this.vm.currentRecord.frozen
  }
  /** How many snapshots Firecracker has written of this VM. */
  get snapshotsTaken(): number {
    return this.vm.currentRecord.snapshotsTaken
  }
  /** What its maker noted about it. */
  get labels(): Labels {
    return this.vm.record.labels
  }
  /** Booted here, not loaded from a snapshot. */
  get bootedHere(): boolean {
    return this.vm.record.origin.kind === 'boot'
  }
  /**
   * The whole typed API, for what has no method here. Calls that change the
   * machine's state belong to the handles.
   */
  get api(): ApiClient {
    return this.vm.api
  }
  /** Resolves when the VMM has ended, however it ended. */
  get exited(): Promise<VmmExit> {
    return this.vm.process.exited
  }
  /** Resolves with the reason once the VMM has ended. */
  exitedError(): Promise<VarveError> {
    return this.vm.exitedError()
  }

  /** What Firecracker says about itself. Legal on any handle; MACHINE_EXITED if the VMM has ended. */
  info(options?: CallOptions): Promise<InstanceInfo> {
    return this.vm.ask('info', () => this.vm.api.instanceInfo(options))
  }

  /**
   * Firecracker's own view of the machine (GET /vm/config). Legal on any handle; MACHINE_EXITED if it has
   * ended.
   */
  vmConfig(options: CallOptions = {}): Promise<FullVmConfiguration> {
    return this.vm.ask('vmConfig', () => this.vm.api.vmConfig(options))
  }

  /** The files behind the guest's disks, by drive id; empty before boot or load. */
  async disks(options: CallOptions = {}): Promise<AttachedDisk[]> {
    return disksOf(await this.vmConfig(options), this.files, this.pid)
  }

  /**
   * Has Firecracker write a Diff and leaves the machine as it is: a running guest stands still for it and
   * goes on. So it is legal on any handle, also an older one. MACHINE_STATE if there is no guest yet. A next
   * Diff counts from this one.
   */
  async takeDiff(options: Omit<SnapshotOptions, 'type'>): Promise<WrittenSnapshot> {
    const diff = { ...options, type: 'Diff' } as const
    return (await this.standStill('takeDiff', (still) => still.write(diff), options)).value
  }

  /**
   * Does something while the guest stands still: a running one is paused for it, and goes on. Legal on any
   * handle, also an older one. MACHINE_STATE if there is no guest yet.
   */
  standStill<T>(
    name: string,
    run: (still: StandingMachine) => Promise<T>,
    options: CallOptions = {},
  ): Promise<Stood<T>> {
    return this.vm.stepAside(name, () => standStill(this.vm, name, run, options), options.signal)
  }

  /**
   * Says which snapshot the present log of written pages counts from. For code that gives snapshots their
   * ids. `taken` is the value of `snapshotsTaken` right after that snapshot; if another snapshot was taken
   * since, the call does nothing and `lease` ends. `lease` is the path of the VM's lease on that snapshot. It
   * replaces the lease on the previous snapshot of the log, which then ends, unless the VM's memory comes
   * from that snapshot.
   */
  countFromSnapshot(id: string, taken: number, lease: string | null = null): void {
    this.vm.updateLeases(lease, ({ snapshotsTaken, leases }) =>
      snapshotsTaken === taken
        ? { snapshotId: id, owed: null, leases: { ...leases, log: lease } }
        : { leases },
    )
  }

  /**
   * For Varve itself. The snapshot that the machine was loaded from is in a store by now: the VM is leased to
   * it. What the log of written pages counts from stays as it is, if that is another one by now.
   */
  holdLoadedSnapshot(id: string, lease: string): void {
    this.vm.updateLeases(lease, ({ snapshotId, owed, leases }) => {
      const counts = snapshotId === id || owed?.from === id
      return { leases: { memory: lease, log: counts ? lease : leases.log } }
    })
  }

  /**
   * Kills the VMM; removes its directory, copies of disks and leases. Legal in any state,
   * also on an old handle; repeatable. MACHINE_STATE on a handle that was detached.
   */
  stop(): Promise<VmmExit> {
    return this.vm.stop()
  }

  /**
   * Lets the VM outlive this process; find it again with `connectMachine(id)`. Afterwards a step on any
   * handle fails with MACHINE_STATE, and disposal does nothing. If logind removes the runtime directory at
   * logout, the process warns (VARVE_GOES_AT_LOGOUT): the VM would run on, and no command would find it.
   */
  detach(): void {
    this.vm.detach()
  }

  /** One line for `console.log`. It makes no call: the state is the one of this handle. */
  [inspectCustom](): string {
    const ended = this.vm.process.exit === undefined ? '' : ', ended'
    return `Machine ${this.id} (${this.#state}${ended}, pid ${this.pid}, Firecracker ${this.vm.record.firecrackerVersion})`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.vm.detached) await this.stop()
  }

  protected step<T>(name: string, to: MachineState, options: CallOptions, run: () => Promise<T>): Promise<T> {
    const from = { state: this.#state, generation: this.#generation }
    return this.vm.step(name, from, to, run, options.signal)
  }

  /** Host path of the vsock socket, from the VMM's own configuration. */
  protected async readVsockPath(options: CallOptions): Promise<string | null> {
    return this.vsockOnHost((await this.vm.api.vmConfig(options)).vsock?.uds_path ?? null)
  }

  protected vsockOnHost(path: string | null): string | null {
    if (path === null) return null
    const { jailRoot } = this.vm.process
    return jailRoot === undefined ? resolve(this.paths.directory, path) : join(jailRoot, resolve('/', path))
  }
}
