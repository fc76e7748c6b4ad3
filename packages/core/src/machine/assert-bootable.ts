import { accessSync, constants, statSync } from 'node:fs'
import { VarveError } from '../errors.js'
import { requireApi } from '../firecracker/api-availability.js'
import { assertKernelImage } from '../firecracker/kernel-image.js'
import type { FirecrackerVersion } from '../firecracker/version.js'
import { hugePageBytes } from '../memory/units.js'
import { pathError } from '../not-found.js'
import { hugePagePool } from '../sys/huge-page-pool.js'
import { deviceRequests } from './device-requests.js'
import { drivesOf } from './disks.js'
import type { MachineSpec } from './machine-spec.js'
import { machineSpec } from './read-machine-spec.js'

/**
 * Refuses before a launch what Firecracker would refuse after it: fields out of range (INVALID_ARGUMENT),
 * and files that are missing, of the wrong kind or not accessible (NOT_FOUND, PATH_INVALID, FORMAT_INVALID);
 * and huge pages that the host does not have (HOST_UNSUPPORTED), for want of which the guest would stand
 * still for good. `details.field` names the field.
 */
export function assertBootable(spec: MachineSpec, version: FirecrackerVersion): void {
  machineSpec(spec)
  assertKernelImage(spec.kernel, version)
  if (spec.hugePages === true) assertHugePages(spec.memoryMib)
  for (const { call, body } of deviceRequests(spec)) requireApi(call, body, version)
  if (spec.initrd !== undefined) assertAccess('initrd', 'initrd', spec.initrd, constants.R_OK)
  for (const { id, path, readOnly, copy, root } of drivesOf(spec))
    assertAccess(
      root ? 'root disk' : `disk ${id}`,
      root ? 'rootDisk' : 'disks',
      path,
      rightsOf(readOnly || copy),
    )
  for (const { id, path, readOnly } of spec.pmem ?? [])
    assertAccess(`pmem ${id}`, 'pmem', path, rightsOf(readOnly))
}

function assertHugePages(memoryMib: number): void {
  const wanted = (memoryMib * 2 ** 20) / hugePageBytes
  const { available } = hugePagePool()
  if (available >= wanted) return
  throw new VarveError(
    'HOST_UNSUPPORTED',
    `hugePages: ${memoryMib} MiB of memory take ${wanted} huge pages of 2 MiB, and this host has ${available} free`,
    {
      remedy: `raise vm.nr_hugepages (sysctl) by ${Math.ceil(wanted - available)}, or boot without hugePages`,
      details: { field: 'hugePages' },
    },
  )
}

const rightsOf = (readOnly = false): number => (readOnly ? constants.R_OK : constants.R_OK | constants.W_OK)

function assertAccess(name: string, field: string, path: string, mode: number): void {
  const details = { path, field }
  try {
    const stat = statSync(path)
    if (!stat.isFile() && !(stat.isBlockDevice() && field !== 'initrd'))
      throw new VarveError('PATH_INVALID', `${name} ${path} is not a regular file`, { details })
    accessSync(path, mode)
  } catch (cause) {
    if (cause instanceof VarveError) throw cause
    const rights = mode === constants.R_OK ? 'read' : 'read and written'
    throw pathError(cause, `${name} ${path} cannot be ${rights}: ${(cause as Error).message}`, { details })
  }
}
