import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { agentProgram } from '@varve/guest'
import { busyboxBinary, initramfs, kernelModules, kernelPackage, mountRootScript } from '@varve/guest/testing'

/** Modules of the kernel that a guest with the agent needs. */
const modules = ['virtio_mmio', 'virtio_blk', 'virtio-rng', 'vmw_vsock_virtio_transport']

/**
 * Writes a first stage that hands over to the agent, as the init of the lab's root disk. `prepare`: shell
 * commands that prepare the root, which is /root then. The path of the file.
 */
export async function agentInitrd(directory: string, prepare = ''): Promise<string> {
  const { modulesDirectory } = await kernelPackage({})
  const path = join(directory, 'initramfs.cpio')
  const archive = initramfs({
    busybox: readFileSync(await busyboxBinary({})),
    modules: await kernelModules(modulesDirectory, modules, {}),
    files: [{ path: 'varve/agent', content: await agentProgram(), executable: true }],
    script: `${mountRootScript}
/bin/busybox mount -t tmpfs tmpfs /root/run
${prepare}
/bin/busybox cp /varve/agent /root/run/varve-agent
exec /bin/busybox switch_root /root /run/varve-agent --init`,
  })
  writeFileSync(path, archive)
  return path
}
