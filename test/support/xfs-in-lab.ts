import { mkdirSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { kernelModules, kernelPackage, runTool } from '@varve/guest/testing'
import { aptInstall } from '@varve/lab'
import { sharedLibraries } from '@varve/lab/testing'

/**
 * What a script in the nested lab needs to make an XFS (test/nested-lab/reflink-scratch.mjs), for `files` of
 * `lab.run`: modules in the order in which to insert them, mkfs.xfs, and the libraries that Node does not
 * bring along. HOST_UNSUPPORTED if mkfs.xfs cannot be installed.
 */
export async function xfsForLab(directory: string): Promise<Readonly<Record<string, string>>> {
  const files: Record<string, string> = {}
  const { modulesDirectory } = await kernelPackage()
  mkdirSync(directory, { mode: 0o700 })
  for (const [order, { name, content }] of (
    await kernelModules(modulesDirectory, ['loop', 'xfs'])
  ).entries()) {
    const path = join(directory, `${name}.ko`)
    writeFileSync(path, content)
    files[`modules/${String(order).padStart(2, '0')}-${name}.ko`] = path
  }
  const program = await mkfsXfs()
  files['bin/mkfs.xfs'] = program
  const there = new Set((await sharedLibraries([process.execPath])).map(({ target }) => target))
  for (const { source, target } of await sharedLibraries([program]))
    if (!there.has(target)) files[`lib/${basename(target)}`] = source
  return files
}

async function mkfsXfs(): Promise<string> {
  const find = async () => {
    const where = await runTool('whereis', ['-b', 'mkfs.xfs'])
    return /\s(\/\S+)/.exec(where.toString())?.[1]
  }
  const found = await find()
  if (found !== undefined) return found
  await aptInstall(['xfsprogs'])
  return (await find()) as string
}
