import { isVarveError, VarveError } from '../errors.js'
import { apiAvailability } from '../firecracker/api-availability.js'
import type { CallOptions } from '../firecracker/api-client.js'
import type { SnapshotLoad } from '../firecracker/api-types.js'
import { isAvailable } from '../firecracker/version.js'
import { MachineHandle } from './machine-handle.js'
import { defaultBootArgs, type MachineSpec, vsockFileName } from './machine-spec.js'
import { PausedMachine } from './paused-machine.js'
import { RunningMachine } from './running-machine.js'

/** Where a loaded machine's memory comes from. */
export type MemorySource =
  | {
      /** A flat memory file, mapped privately. It must stay unchanged while the VM lives. */
      readonly backend: 'File'
      readonly path: string
    }
  | {
      /** A page server that listens on this socket, named by `files.local` so that a jailed VMM reaches it too. */
      readonly backend: 'Uffd'
      readonly socketName: string
    }

export interface LoadOptions extends CallOptions {
  readonly statePath: string
  readonly memory: MemorySource
  /** Log written pages, which Diff snapshots need. Not stored in snapshots. Default true. */
  readonly trackDirtyPages?: boolean
  /** Other tap devices, by interface id. Firecracker 1.12.0 or newer. */
  readonly networkOverrides?: Readonly<Record<string, string>>
  /** Other vsock socket. Firecracker 1.16.0 or newer; not needed where the path was relative. */
  readonly vsockPath?: string
  /** Let the guest's clock jump to the host's. Firecracker 1.14.4, 1.15.1, 1.16.0 or newer, x86_64. */
  readonly clockRealtime?: boolean
}

/** A VMM process that has booted nothing and loaded nothing yet: it can do one of the two, once. */
export class LaunchedMachine extends MachineHandle {
  readonly state = 'launched'

  /** Configures the VMM and starts the guest. */
  async boot(spec: MachineSpec, options: CallOptions = {}): Promise<RunningMachine> {
    const trackDirtyPages = spec.trackDirtyPages ?? true
    await this.step('boot', 'running', async () => {
      await this.#configure(spec, trackDirtyPages, options)
      await this.vm.api.startInstance(options)
    })
    const vsockPath = spec.vsockCid === undefined ? null : this.files.local(vsockFileName).hostPath
    this.vm.updateRecord({
      dirtyTracking: trackDirtyPages,
      vsockPath,
      ranSince: true,
      origin: { kind: 'boot', from: spec.kernel },
    })
    return new RunningMachine(this.vm)
  }

  async #configure(spec: MachineSpec, trackDirtyPages: boolean, options: CallOptions): Promise<void> {
    const { api } = this.vm
    const { files } = this
    await api.putMachineConfig(
      {
        vcpu_count: spec.vcpus,
        mem_size_mib: spec.memoryMib,
        track_dirty_pages: trackDirtyPages,
        ...(spec.hugePages === true ? { huge_pages: '2M' } : {}),
      },
      options,
    )
    await api.putBootSource(
      {
        kernel_image_path: files.input(spec.kernel),
        ...(spec.initrd === undefined ? {} : { initrd_path: files.input(spec.initrd) }),
        boot_args: spec.bootArgs ?? defaultBootArgs,
      },
      options,
    )
    const disks = [
      ...(spec.rootDisk === undefined ? [] : [{ id: 'rootfs', root: true, ...spec.rootDisk }]),
      ...(spec.disks ?? []).map((disk) => ({ root: false, ...disk })),
    ]
    for (const disk of disks)
      await api.putDrive(
        {
          drive_id: disk.id,
          is_root_device: disk.root,
          path_on_host: files.input(disk.path),
          is_read_only: disk.readOnly ?? false,
        },
        options,
      )
    for (const { id, tap, mac } of spec.network ?? [])
      await api.putNetworkInterface(
        { iface_id: id, host_dev_name: tap, ...(mac === undefined ? {} : { guest_mac: mac }) },
        options,
      )
    if (spec.vsockCid !== undefined)
      await api.putVsock({ guest_cid: spec.vsockCid, uds_path: files.local(vsockFileName).vmmPath }, options)
    if (spec.entropy === true) await api.putEntropy({}, options)
  }

  /**
   * Loads a snapshot and leaves the guest paused. A refusal is LOAD_FAILED with Firecracker's own words; Firecracker
   * ends itself then, so each try needs a fresh `launchMachine`.
   */
  async load(options: LoadOptions): Promise<PausedMachine> {
    await this.#load(options, false)
    return new PausedMachine(this.vm)
  }

  /** Loads a snapshot and resumes in the same request, which saves a round trip (some 27 ms on a cold host). */
  async loadAndResume(options: LoadOptions): Promise<RunningMachine> {
    await this.#load(options, true)
    return new RunningMachine(this.vm)
  }

  async #load(options: LoadOptions, resume: boolean): Promise<void> {
    const { signal, trackDirtyPages = true } = options
    const call = signal === undefined ? {} : { signal }
    await this.step('load', resume ? 'running' : 'paused', async () => {
      try {
        await this.vm.api.loadSnapshot(this.#loadBody(options, trackDirtyPages, resume), call)
      } catch (error) {
        if (!isVarveError(error, 'API_REFUSED')) throw error
        // Past its first checks a failed load ends Firecracker; a VMM in between is of no use either.
        await this.vm.stop()
        throw new VarveError('LOAD_FAILED', `${options.statePath}: ${String(error.details.faultMessage)}`, {
          cause: error,
          details: error.details,
        })
      }
    })
    this.vm.updateRecord({
      dirtyTracking: trackDirtyPages,
      vsockPath: await this.readVsockPath(call),
      // The load itself writes (VMGenID, device state), so memory is not quite the snapshot's even before the guest runs.
      ranSince: true,
      origin: { kind: 'load', from: options.statePath },
    })
  }

  #loadBody(options: LoadOptions, trackDirtyPages: boolean, resume: boolean): SnapshotLoad {
    const { memory, networkOverrides, vsockPath, clockRealtime } = options
    const tracking = apiAvailability['PUT /snapshot/load track_dirty_pages']
    const modern = tracking === undefined || isAvailable(tracking, this.firecrackerVersion)
    return {
      snapshot_path: this.files.input(options.statePath),
      mem_backend:
        memory.backend === 'File'
          ? { backend_type: 'File', backend_path: this.files.input(memory.path) }
          : { backend_type: 'Uffd', backend_path: this.files.local(memory.socketName).vmmPath },
      resume_vm: resume,
      ...(trackDirtyPages ? (modern ? { track_dirty_pages: true } : { enable_diff_snapshots: true }) : {}),
      ...(networkOverrides === undefined
        ? {}
        : {
            network_overrides: Object.entries(networkOverrides).map(([iface_id, host_dev_name]) => ({
              iface_id,
              host_dev_name,
            })),
          }),
      ...(vsockPath === undefined ? {} : { vsock_override: { uds_path: vsockPath } }),
      ...(clockRealtime === undefined ? {} : { clock_realtime: clockRealtime }),
    }
  }
}
