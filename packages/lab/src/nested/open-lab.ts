import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { writeEmptyDisk } from '@varve/guest/testing'
import { isVarveError, VarveError } from 'varve'
import { onProcessEnd } from 'varve/testing'
import { ensureSystemPackages } from '../system-packages.js'
import { type Accelerator, claimsNesting, rememberNestingFailed } from './accelerator.js'
import { newConsoleLog } from './console-log.js'
import { type HostImage, type HostImageOptions, hostImage } from './host-image.js'
import { NestedLab } from './lab.js'
import { projectDisk } from './project-disk.js'
import { type Qemu, startQemu } from './qemu.js'

export interface NestedLabOptions extends HostImageOptions {
  /** Default: 4096. */
  readonly memoryMib?: number
  /** Default: 2 by KVM, 1 emulated. */
  readonly cpus?: number
  /** Size of the scratch disk, which is sparse on the host. Default: 16384. */
  readonly scratchMib?: number
  /**
   * An image of a file system that scripts can mount, read-only, from `/dev/vdd`: `files` of a run take
   * half a minute for each 100 MB, emulated.
   */
  readonly dataDisk?: string
  /** Default: KVM if this host's can be nested, else emulation. */
  readonly accelerator?: Accelerator
}

/**
 * From QEMU's start to the runner's first word: some 6 s emulated on an idle machine, more on a loaded one.
 */
const bootTimeoutMs = { kvm: 30_000, tcg: 180_000 } as const
/**
 * Boots a host with a KVM of its own, in QEMU. Everything that needs fetching or building is made
 * first, and kept for the next time. The lab ends with `await using`, `close()`, or this process,
 * however that ends. Errors: HOST_UNSUPPORTED (with the command to run), BINARY_NOT_FOUND, LAB_FAILED
 * and TIMEOUT (both name the console log).
 */
export async function openNestedLab(options: NestedLabOptions = {}): Promise<NestedLab> {
  if (process.arch !== 'x64')
    throw new VarveError('HOST_UNSUPPORTED', `the nested lab is for x86_64; this is ${process.arch}`)
  const { signal, onProgress } = options
  await ensureSystemPackages(options)
  const image = await hostImage(options)
  const project = await projectDisk({ signal })
  const start = (accelerator: Accelerator) => {
    onProgress?.(`starting the nested lab (${accelerator === 'kvm' ? 'KVM' : 'emulation'})`)
    return bootLab({ ...options, accelerator }, image, project)
  }
  if (options.accelerator !== undefined) return start(options.accelerator)
  if (!claimsNesting()) return start('tcg')
  try {
    return await start('kvm')
  } catch (error) {
    if (!isVarveError(error, 'LAB_FAILED') && !isVarveError(error, 'TIMEOUT')) throw error
    onProgress?.(`nested KVM failed: ${error.message}`)
    rememberNestingFailed()
    return start('tcg')
  }
}

/**
 * With two emulated CPUs the whole lab stood still, for good, in both long runs; with one it did not, and the
 * runs were shorter: see docs/guides/nested-lab.md, "Limits".
 */
const usualCpus = { kvm: 2, tcg: 1 } as const

async function bootLab(
  options: NestedLabOptions & { readonly accelerator: Accelerator },
  image: HostImage,
  project: string,
): Promise<NestedLab> {
  const {
    accelerator,
    memoryMib = 4096,
    cpus = usualCpus[accelerator],
    scratchMib = 16 * 1024,
    signal,
  } = options
  const directory = mkdtempSync(join(tmpdir(), 'varve-lab-'))
  const consoleLogPath = newConsoleLog()
  let qemu: Qemu | undefined
  const discard = () => {
    qemu?.kill()
    rmSync(directory, { recursive: true, force: true })
  }
  const forget = onProcessEnd(discard)
  try {
    const scratchDisk = join(directory, 'scratch.ext4')
    await writeEmptyDisk(scratchDisk, { sizeBytes: scratchMib * 2 ** 20, signal })
    qemu = await startQemu({
      image,
      projectDisk: project,
      scratchDisk,
      dataDisk: options.dataDisk,
      accelerator,
      memoryMib,
      cpus,
      consoleLogPath,
      socketPath: join(directory, 'jobs.sock'),
    })
    const channel = await qemu.channel
    if (channel === null)
      throw new VarveError('LAB_FAILED', `the nested lab did not start: ${await qemu.ended}`)
    const lab = new NestedLab(accelerator, consoleLogPath, directory, qemu, channel, () => {
      forget()
      discard()
    })
    await lab.untilReady(bootTimeoutMs[accelerator], signal)
    // QEMU has it open; without a name it cannot be left behind.
    rmSync(scratchDisk)
    return lab
  } catch (error) {
    forget()
    discard()
    throw error
  }
}
