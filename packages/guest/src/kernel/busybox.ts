import { copyFileSync, existsSync, mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { VarveError } from 'varve'
import { type AptOptions, unpackedPackages } from '../tools/apt-packages.js'
import { runTool } from '../tools/run-tool.js'

/** The static busybox, unpacked into the cache: installing it would push out a host's own busybox. */
export async function busyboxBinary(options: AptOptions = {}): Promise<string> {
  const directory = await unpackedPackages('busybox', async () => ['busybox-static'], options)
  const path = ['bin/busybox', 'usr/bin/busybox'].map((it) => join(directory, it)).find(existsSync)
  if (path === undefined)
    throw new VarveError('HOST_UNSUPPORTED', `the busybox-static package in ${directory} has no busybox`, {
      remedy: `delete ${directory} and try again`,
    })
  return path
}

/**
 * Copies busybox into `ROOT/bin` and links its commands to it; a link named busybox
 * would replace the program itself.
 */
export async function installBusybox(
  busybox: string,
  root: string,
  options: { readonly signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const bin = join(root, 'bin')
  mkdirSync(bin, { recursive: true })
  copyFileSync(busybox, join(bin, 'busybox'))
  const commands = (await runTool(busybox, ['--list'], options)).toString('utf8').split('\n')
  for (const command of commands)
    if (command !== '' && command !== 'busybox' && !command.includes('/'))
      symlinkSync('busybox', join(bin, command))
}
