import { accessSync, constants, lstatSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { VarveError } from './errors.js'

/**
 * $VARVE_RUNTIME_DIR, else $XDG_RUNTIME_DIR/varve, else /run/varve for root, else varve-UID in the temporary
 * folder. logind removes $XDG_RUNTIME_DIR at logout unless the user lingers: to detach machines for longer,
 * `loginctl enable-linger`, or set $VARVE_RUNTIME_DIR.
 */
export function runtimeDirectory(env: NodeJS.ProcessEnv = process.env): string {
  if (env.VARVE_RUNTIME_DIR) return env.VARVE_RUNTIME_DIR
  if (env.XDG_RUNTIME_DIR) return join(env.XDG_RUNTIME_DIR, 'varve')
  const uid = process.getuid?.() ?? 0
  return uid === 0 ? '/run/varve' : join(tmpdir(), `varve-${uid}`)
}

export const machinesDirectory = (runtime: string) => join(runtime, 'machines')

/**
 * In a shared temporary folder another user could have made our directory first: use it
 * only if it is private and ours.
 */
export function assertPrivate(directory: string): void {
  const stat = lstatSync(directory, { throwIfNoEntry: false })
  const uid = process.getuid?.()
  if (!stat?.isDirectory() || stat.uid !== uid || (stat.mode & 0o077) !== 0)
    throw new VarveError('PATH_INVALID', `${directory} is not a directory of uid ${uid} with mode 0700`, {
      remedy: `remove it, chmod 700 it, or set $VARVE_RUNTIME_DIR`,
    })
}

/**
 * Refuses a runtime directory as a launch would, without making anything: PATH_INVALID if it is not private,
 * or cannot be made.
 */
export function assertUsableRuntime(runtime: string): void {
  for (const directory of [runtime, machinesDirectory(runtime)])
    if (isThere(directory)) assertPrivate(directory)
    else assertCreatable(directory)
}

/**
 * A link is there even if it leads nowhere: no directory can be made in its place. PATH_INVALID if no
 * directory can have this name.
 */
function isThere(directory: string): boolean {
  try {
    return lstatSync(directory, { throwIfNoEntry: false }) !== undefined
  } catch (cause) {
    throw unusable(directory, (cause as Error).message)
  }
}

function assertCreatable(directory: string): void {
  let above = dirname(resolve(directory))
  while (!isThere(above)) above = dirname(above)
  try {
    accessSync(above, constants.W_OK | constants.X_OK)
    if (statSync(above).isDirectory()) return
  } catch {}
  throw unusable(directory, `${above} is no directory that you may write to`)
}

const unusable = (directory: string, why: string): VarveError =>
  new VarveError('PATH_INVALID', `${directory} cannot be made: ${why}`, {
    remedy: 'set $VARVE_RUNTIME_DIR to a directory of your own',
  })
