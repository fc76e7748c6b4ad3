import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { VarveError } from 'varve'
import {
  type AptOptions,
  directDependencies,
  isInstallable,
  unpackedPackages,
} from '../tools/apt-packages.js'

/** Meta packages that name the newest kernel for VMs: Debian's and Ubuntu's. */
const metaPackages = ['linux-image-cloud-amd64', 'linux-image-virtual'] as const

export interface KernelPackage {
  readonly release: string
  /** The bzImage. */
  readonly vmlinuz: string
  /** `lib/modules/RELEASE`. */
  readonly modulesDirectory: string
}

/**
 * The distribution's kernel for VMs, unpacked into the cache. Both the lab's
 * host and the guests inside run it.
 */
export async function kernelPackage(options: AptOptions = {}): Promise<KernelPackage> {
  const directory = await unpackedPackages('kernel', () => kernelPackageNames(options), options)
  const modules = ['lib/modules', 'usr/lib/modules'].map((it) => join(directory, it)).find(existsSync)
  const release = modules === undefined ? undefined : readdirSync(modules)[0]
  const vmlinuz = join(directory, 'boot', `vmlinuz-${release}`)
  if (modules === undefined || release === undefined || !existsSync(vmlinuz))
    throw new VarveError(
      'HOST_UNSUPPORTED',
      `the kernel package in ${directory} has no vmlinuz with modules`,
      {
        remedy: `delete ${directory} and try again`,
      },
    )
  return { release, vmlinuz, modulesDirectory: join(modules, release) }
}

/** The meta package depends on linux-image-VERSION, which at Ubuntu depends on linux-modules-VERSION. */
async function kernelPackageNames(options: AptOptions): Promise<string[]> {
  for (const meta of metaPackages) {
    if (!(await isInstallable(meta, options))) continue
    const isKernel = (it: string) => /^linux-(image|modules)-\d/.test(it)
    const images = (await directDependencies(meta, options)).filter(isKernel)
    const modules: string[] = []
    for (const image of images) modules.push(...(await directDependencies(image, options)).filter(isKernel))
    if (images.length > 0) return [...new Set([...images, ...modules])]
  }
  throw new VarveError('HOST_UNSUPPORTED', `apt knows no package of ${metaPackages.join(', ')}`, {
    remedy: 'run: apt-get update',
  })
}
