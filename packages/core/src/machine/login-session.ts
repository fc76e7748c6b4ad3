import { existsSync, realpathSync } from 'node:fs'
import { userInfo } from 'node:os'
import { join } from 'node:path'

/** Where logind keeps users' runtime directories, and which users linger (logind.conf(5), loginctl(1)). */
const logind = { sessions: '/run/user', lingering: '/var/lib/systemd/linger' }

/**
 * Whether logind removes a runtime directory when its user's last session ends: it does if the directory lies
 * in the user's own one ($XDG_RUNTIME_DIR) and the user does not linger. A detached VM then runs on, and no
 * command finds it any more.
 */
export function goesAtLogout(
  runtime: string,
  {
    sessions = logind.sessions,
    lingering = logind.lingering,
    user = userName,
  }: { sessions?: string; lingering?: string; user?: () => string | undefined } = {},
): boolean {
  if (!isBelow(realPath(runtime), realPath(sessions))) return false
  const name = user()
  return name === undefined || !existsSync(join(lingering, name))
}

/** Undefined if the user has no name, as is usual in containers: logind then knows of no lingering either. */
function userName(): string | undefined {
  try {
    return userInfo().username
  } catch {
    return undefined
  }
}

const isBelow = (path: string, directory: string) => path.startsWith(`${directory}/`)

function realPath(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}

/** Once for each runtime directory: a program may detach many machines. */
const warned = new Set<string>()

/**
 * A warning of the process (code VARVE_GOES_AT_LOGOUT) and no error, because nothing is wrong with the VM
 * itself.
 */
export function warnIfGoesAtLogout(runtime: string, places?: Parameters<typeof goesAtLogout>[1]): void {
  if (warned.has(runtime) || !goesAtLogout(runtime, places)) return
  warned.add(runtime)
  process.emitWarning(
    `${runtime} is removed when you log out; a detached machine then runs on, and varve does not find it. To keep it: loginctl enable-linger, or set $VARVE_RUNTIME_DIR to a directory that stays`,
    { type: 'VarveWarning', code: 'VARVE_GOES_AT_LOGOUT' },
  )
}
