// An XFS in the nested lab, of the files that test/support/xfs-in-lab.ts gives.
import { execFileSync } from 'node:child_process'
import { chmodSync, existsSync, readdirSync } from 'node:fs'
import { resolve } from 'node:path'
import { openReflinkFileSystem } from '@varve/lab'

export async function reflinkScratch(directory, bytes) {
  for (const file of readdirSync('modules').sort()) {
    const name = /^\d+-(\w+)\.ko$/.exec(file)[1]
    if (!existsSync(`/sys/module/${name}`)) execFileSync('insmod', [resolve('modules', file)])
  }
  chmodSync('bin/mkfs.xfs', 0o700)
  process.env.PATH = `${resolve('bin')}:${process.env.PATH}`
  process.env.LD_LIBRARY_PATH = resolve('lib')
  return await openReflinkFileSystem(directory, bytes)
}
