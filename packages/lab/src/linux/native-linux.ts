import { guestAgent } from '@varve/guest'
import { bootMachine, type FirecrackerBinary, VarveError } from 'varve'
import { hardwareVirtualisation, recallLinuxVerdict, rememberLinuxVerdict } from 'varve/testing'
import { linuxGuest } from './guest-image.js'

/**
 * A Linux guest answers after 1–3 s on VMX or SVM. Software KVM never gets there; so little is waited for it.
 */
const limitMs = { hardware: 30_000, software: 8_000 } as const

export interface NativeLinuxOptions {
  readonly binary: FirecrackerBinary
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: ((message: string) => void) | undefined
}

/**
 * Whether Linux guests run on this host's KVM: tried once a boot of the host, within
 * a time limit, then remembered.
 */
export async function nativeLinuxBoots(options: NativeLinuxOptions): Promise<boolean> {
  const { binary, signal, onProgress } = options
  const known = recallLinuxVerdict()
  if (known !== undefined) return known.linuxBoots
  const abort = { signal }
  const guest = await linuxGuest({ ...abort, onProgress })
  onProgress?.('trying whether a Linux guest boots on this /dev/kvm')
  const start = performance.now()
  const timeoutMs = limitMs[hardwareVirtualisation() ? 'hardware' : 'software']
  let linuxBoots = true
  try {
    await using machine = await bootMachine(
      {
        kernel: guest.kernel,
        initrd: guest.initrd,
        bootArgs: guest.bootArgs,
        memoryMib: 256,
        vcpus: 1,
        vsockCid: 3,
        rootDisk: { path: guest.rootDisk, readOnly: true },
      },
      { binary, ...abort },
    )
    await guestAgent(machine).ping({ timeoutMs, ...abort })
  } catch (error) {
    // No answer, or a VMM that gave up on the guest, is the verdict; an abort or a missing file is not.
    if (
      !(error instanceof VarveError) ||
      !['TIMEOUT', 'MACHINE_EXITED', 'GUEST_LOST', 'GUEST_PROTOCOL'].includes(error.code)
    )
      throw error
    linuxBoots = false
  }
  rememberLinuxVerdict({ linuxBoots, afterMs: Math.round(performance.now() - start) })
  return linuxBoots
}
