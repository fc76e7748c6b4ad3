import { mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { onProcessEnd } from 'varve/testing'

export interface Scratch extends Disposable {
  readonly directory: string
  path(name: string): string
}

/**
 * A directory that is removed at the end, also after Ctrl-C. `parent`: default $TMPDIR, or /var/tmp, which is
 * on a disk on most hosts (the pages of a tmpfs never leave the page cache).
 */
export function openScratch(parent = process.env.TMPDIR ?? '/var/tmp'): Scratch {
  const directory = mkdtempSync(join(parent, 'varve-bench-'))
  const remove = () => rmSync(directory, { recursive: true, force: true })
  const takeBack = onProcessEnd(remove)
  return {
    directory,
    path: (name) => join(directory, name),
    [Symbol.dispose]: () => {
      takeBack()
      remove()
    },
  }
}
