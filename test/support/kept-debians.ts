import { mkdirSync, symlinkSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * Makes this process find kept-mmdebstrap.mjs in place of mmdebstrap. `folder`: a new one for it. Gives the
 * path of the archive that was made last.
 */
export function keepDebians(folder: string): string {
  mkdirSync(folder)
  const program = fileURLToPath(new URL('kept-mmdebstrap.mjs', import.meta.url))
  symlinkSync(program, join(folder, 'mmdebstrap'))
  process.env.PATH = `${folder}${delimiter}${process.env.PATH}`
  return join(folder, 'last.tar')
}
