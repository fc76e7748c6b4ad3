import { closeSync, constants, openSync } from 'node:fs'
import { KVM_CAP_NR_MEMSLOTS, KVM_CHECK_EXTENSION, KVM_CREATE_VM, KVM_GET_API_VERSION } from './abi.js'
import { declare } from './libc.js'

/** The only version there has been since Linux 2.6.22; Firecracker insists on it. */
const stableApiVersion = 12

// Safe: these requests take an integer argument, no memory.
const ioctl = declare<[number, number, number]>(
  'int ioctl(int fd, unsigned long request, unsigned long argument)',
)

type KvmProbe =
  | { readonly usable: true; readonly memorySlots: number }
  | { readonly usable: false; readonly reason: string }

/**
 * Opens /dev/kvm and creates (and drops) an empty VM: the permission and the module
 * both work, or the reason why not.
 */
export function probeKvm(): KvmProbe {
  let kvm: number
  try {
    kvm = openSync('/dev/kvm', constants.O_RDWR)
  } catch (error) {
    return { usable: false, reason: (error as Error).message }
  }
  try {
    const version = ioctl(kvm, KVM_GET_API_VERSION, 0)
    if (version !== stableApiVersion) return { usable: false, reason: `/dev/kvm has API version ${version}` }
    const vm = ioctl(kvm, KVM_CREATE_VM, 0)
    if (vm < 0) return { usable: false, reason: '/dev/kvm opens, but KVM_CREATE_VM fails' }
    closeSync(vm)
    return { usable: true, memorySlots: ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_NR_MEMSLOTS) }
  } finally {
    closeSync(kvm)
  }
}
