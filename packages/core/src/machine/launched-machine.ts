import { isVarveError, VarveError } from '../errors.js'
import { apiAvailability } from '../firecracker/api-availability.js'
import type { CallOptions } from '../firecracker/api-client.js'
import type { SnapshotLoad } from '../firecracker/api-types.js'
import { isAvailable } from '../firecracker/version.js'
import type { GuestAgentPlace } from '../guest-agent-place.js'
import { removeSmallFile } from '../sys/mutations.js'
import { assertBootable } from './assert-bootable.js'
import {
  balloon,
  driveOptions,
  entropy,
  hotplugMemory,
  machineConfiguration,
  mmdsConfig,
  networkInterface,
  pmemOptions,
  serial,
} from './device-requests.js'
import { type DiskSource, diskFile, drivesOf, PlacedFiles, placeDisks, privateName } from './disks.js'
import { MachineHandle } from './machine-handle.js'
import { defaultBootArgs, type MachineSpec, vsockFileName } from './machine-spec.js'
import { PausedMachine, RunningMachine } from './machine-states.js'

/** Where a loaded machine's memory comes from. */
export type MemorySource =
  | {
      /** A flat memory file, mapped privately. It must stay unchanged while the VM lives. */
      readonly backend: 'File'
      /** The host path of that file. */
      readonly path: string
    }
  | {
      /** The same, under this name in the VMM's directory (`files.local`) already. */
      readonly backend: 'File'
      /** The name of that file. */
      readonly localName: string
    }
  | {
      /**
       * A page server that listens on this socket, named by `files.local` so
       * that a jailed VMM reaches it too.
       */
      readonly backend: 'Uffd'
      /** The name of that socket. */
      readonly socketName: string
    }

/** Of both ways to start a machine. */
export interface BootOptions extends CallOptions {
  /**
   * Where private copies of disks are kept, in a directory of their own. Default: the VMM's directory, which
   * usually is in memory; a directory on the sources' file system lets copies share blocks with them. In a
   * jail, whose files must lie in it, this is not used.
   */
  readonly diskDirectory?: string | undefined
}

/** What to load into a launched machine. */
export interface LoadOptions extends BootOptions {
  /** The snapshot's state file. */
  readonly statePath: string
  /** Where the guest's memory comes from. */
  readonly memory: MemorySource
  /**
   * Disks of the snapshot that must be put under their names in the VMM's directory first; the others must be
   * there already. They go with the machine.
   */
  readonly disks?: readonly DiskSource[] | undefined
  /** Log written pages, which Diff snapshots need. Not stored in snapshots. Default true. */
  readonly trackDirtyPages?: boolean | undefined
  /** Other tap devices, by interface id. Firecracker 1.12.0 or newer. */
  readonly networkOverrides?: Readonly<Record<string, string>> | undefined
  /**
   * Path of another vsock socket. Needs Firecracker 1.16.0 or newer; not needed if the path was relative.
   * `restoreMachine` also takes the snapshot's own path here, with any version: a path that leads out of the
   * VM's directory is used only if it is named here.
   */
  readonly vsockPath?: string | undefined
  /**
   * The vsock path in the snapshot (`GET /vm/config` when it was taken); null if it has no vsock. Default:
   * Firecracker is asked for it after the load, which takes a millisecond.
   */
  readonly savedVsockPath?: string | null | undefined
  /** Where the guest of the snapshot has an agent. Default: it has none. */
  readonly guestAgent?: GuestAgentPlace | undefined
  /**
   * Which snapshot this is: what the log of written pages counts from, see
   * `MachineRecord.snapshotId`. Default: not known.
   */
  readonly snapshotId?: string | undefined
  /**
   * Called while Firecracker loads: leases the snapshot to the VM (`OpenSnapshot.leaseTo`), and returns the
   * path of the lease, which is removed with the machine. A later snapshot adds its own lease
   * (`countFromSnapshot`).
   */
  readonly lease?: (() => Promise<string | null>) | undefined
  /** Let the guest's clock jump to the host's. Firecracker 1.14.4, 1.15.1, 1.16.0 or newer, x86_64. */
  readonly clockRealtime?: boolean | undefined
}

/** A VMM process that has booted nothing and loaded nothing yet: it can do one of the two, once. */
export class LaunchedMachine extends MachineHandle {
  /** The state that this handle is of. */
  readonly state = 'launched'

  /** Neither booting nor loading was begun. */
  get unused(): boolean {
    return this.vm.state === 'launched'
  }

  /**
   * Configures the VMM and starts the guest. If `assertBootable` refuses the spec, the VMM stays as it is.
   */
  async boot(spec: MachineSpec, options: BootOptions = {}): Promise<RunningMachine> {
    const trackDirtyPages = spec.trackDirtyPages ?? true
    await this.step('boot', 'running', options, async () => {
      assertBootable(spec, this.firecrackerVersion)
      const placed = new PlacedFiles()
      try {
        await this.#configure(spec, trackDirtyPages, placed, options)
        await this.vm.api.startInstance(options)
      } catch (error) {
        // So that another spec, or the mended one, can be tried.
        await placed.remove()
        throw error
      }
      this.vm.updateRecord({
        dirtyTracking: trackDirtyPages,
        vsockPath: spec.vsockCid === undefined ? null : this.files.local(vsockFileName).hostPath,
        guestAgent: spec.guestAgent ?? null,
        ranSince: true,
        origin: { kind: 'boot', from: spec.kernel },
      })
    })
    return new RunningMachine(this.vm)
  }

  async #configure(
    spec: MachineSpec,
    trackDirtyPages: boolean,
    placed: PlacedFiles,
    options: BootOptions,
  ): Promise<void> {
    const { api } = this.vm
    const { files } = this
    await api.putMachineConfig(machineConfiguration(spec, trackDirtyPages), options)
    if (typeof spec.cpuTemplate === 'object') await api.putCpuConfig(spec.cpuTemplate, options)
    await api.putBootSource(
      {
        kernel_image_path: await files.input(spec.kernel, options),
        ...(spec.initrd === undefined ? {} : { initrd_path: await files.input(spec.initrd, options) }),
        boot_args: spec.bootArgs ?? defaultBootArgs,
      },
      options,
    )
    await this.#attachDisks(spec, placed, options)
    for (const it of spec.network ?? []) await api.putNetworkInterface(networkInterface(it), options)
    if (spec.vsockCid !== undefined)
      await api.putVsock({ guest_cid: spec.vsockCid, uds_path: files.local(vsockFileName).vmmPath }, options)
    const put = async <Body>(
      send: (body: Body, call: CallOptions) => Promise<void>,
      body: Body | undefined,
    ) => {
      if (body !== undefined) await send(body, options)
    }
    await put(api.putMmdsConfig, mmdsConfig(spec))
    await put(api.putBalloon, balloon(spec))
    await put(api.putHotplugMemory, hotplugMemory(spec))
    await put(api.putEntropy, entropy(spec))
    await put(api.putSerial, serial(spec))
  }

  /**
   * Firecracker is told a name in its working directory, which leads to the user's file: a clone of a
   * snapshot then can have another file there.
   */
  async #attachDisks(spec: MachineSpec, placed: PlacedFiles, options: BootOptions): Promise<void> {
    const { files } = this
    const { api } = this.vm
    const drives = drivesOf(spec)
    const copied = drives
      .filter(({ copy }) => copy)
      .map(({ id, path }): DiskSource => ({ file: diskFile(id), source: path, mode: 'copy' }))
    await this.#placeDisks(copied, placed, options)
    const place = async (id: string, path: string, readOnly: boolean): Promise<string> => {
      const file = diskFile(id)
      await files.place(file, path, readOnly ? 'read-only' : 'shared', options)
      placed.add(files.local(file).hostPath)
      return files.local(file).vmmPath
    }
    for (const drive of drives) {
      const { id, path, readOnly, copy, root } = drive
      const path_on_host = copy ? files.local(diskFile(id)).vmmPath : await place(id, path, readOnly)
      await api.putDrive(
        { drive_id: id, is_root_device: root, path_on_host, is_read_only: readOnly, ...driveOptions(drive) },
        options,
      )
    }
    for (const pmem of spec.pmem ?? []) {
      const { id, path, readOnly = false } = pmem
      const path_on_host = await place(id, path, readOnly)
      await api.putPmem({ id, path_on_host, ...pmemOptions(pmem) }, options)
    }
  }

  /**
   * Loads a snapshot and leaves the guest paused. A refusal is LOAD_FAILED with Firecracker's own words;
   * Firecracker ends itself then, so each try needs a fresh `launchMachine`.
   */
  async load(options: LoadOptions): Promise<PausedMachine> {
    await this.#load(options, false)
    return new PausedMachine(this.vm)
  }

  /**
   * Loads a snapshot and resumes in the same request, which saves a round trip (some 27 ms on a cold host).
   */
  async loadAndResume(options: LoadOptions): Promise<RunningMachine> {
    await this.#load(options, true)
    return new RunningMachine(this.vm)
  }

  async #load(options: LoadOptions, resume: boolean): Promise<void> {
    const { signal, trackDirtyPages = true, snapshotId = null, guestAgent = null } = options
    const call = { signal }
    await this.step('load', resume ? 'running' : 'paused', options, async () => {
      let leasing: Promise<string | null> | undefined
      await this.#withDisks(options, async () => {
        const body = await this.#loadBody(options, trackDirtyPages, resume)
        try {
          const loading = this.vm.api.loadSnapshot(body, call)
          loading.catch(() => {})
          // The request goes out first.
          await new Promise(setImmediate)
          leasing = options.lease?.()
          leasing?.catch(() => {})
          await loading
        } catch (error) {
          await this.#endLease(leasing)
          if (!isVarveError(error, 'API_REFUSED')) throw error
          // Past its first checks a failed load ends Firecracker; a VMM in between is of no use either.
          await this.vm.stop()
          throw new VarveError('LOAD_FAILED', `${options.statePath}: ${String(error.details.faultMessage)}`, {
            cause: error,
            details: error.details,
          })
        }
      })
      const lease = (await leasing) ?? null
      const vsockPath = await this.#vsockOf(options, call)
      this.vm.updateLeases(lease, () => ({
        dirtyTracking: trackDirtyPages,
        vsockPath,
        guestAgent,
        pausedSinceLoad: !resume,
        snapshotId,
        leases: { memory: lease, log: lease },
        // The load itself writes (VMGenID, device state), so memory is not quite the
        // snapshot's even before the guest runs.
        ranSince: true,
        origin: { kind: 'load', from: options.statePath },
      }))
    })
  }

  async #endLease(leasing: Promise<string | null> | undefined): Promise<void> {
    const path = await leasing?.catch(() => undefined)
    if (path) removeSmallFile(path)
  }

  async #vsockOf(options: LoadOptions, call: CallOptions): Promise<string | null> {
    const { savedVsockPath, vsockPath = savedVsockPath } = options
    return vsockPath === undefined ? this.readVsockPath(call) : this.vsockOnHost(vsockPath)
  }

  /** Has the disks in place for `load`, and takes them away again if that fails. */
  async #withDisks(options: LoadOptions, load: () => Promise<void>): Promise<void> {
    const placed = new PlacedFiles()
    try {
      await this.#placeDisks(options.disks ?? [], placed, options)
      await load()
    } catch (error) {
      await placed.remove()
      throw error
    }
  }

  async #placeDisks(
    disks: readonly DiskSource[],
    placed: PlacedFiles,
    { diskDirectory, signal }: BootOptions,
  ): Promise<void> {
    const apart = diskDirectory !== undefined && this.jailOwner === null && disks.length > 0
    const copies = apart ? privateName(diskDirectory, this.id) : null
    // Recorded first, so that the process that ends this machine removes it.
    if (copies !== null) this.vm.updateRecord({ diskDirectory: copies })
    await placeDisks(this.files, disks, placed, { copies, holder: this.vm.holder, signal })
  }

  async #loadBody(options: LoadOptions, trackDirtyPages: boolean, resume: boolean): Promise<SnapshotLoad> {
    const { memory, networkOverrides, vsockPath, clockRealtime } = options
    const tracking = apiAvailability['PUT /snapshot/load track_dirty_pages']
    const modern = tracking === undefined || isAvailable(tracking, this.firecrackerVersion)
    return {
      snapshot_path: await this.files.input(options.statePath, options),
      mem_backend: {
        backend_type: memory.backend,
        backend_path:
          'path' in memory
            ? await this.files.input(memory.path, options)
            : this.files.local('localName' in memory ? memory.localName : memory.socketName).vmmPath,
      },
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
