import { constants } from 'node:os'
import { isMainThread } from 'node:worker_threads'
import { VarveError } from '../errors.js'
import { declare, errnoName } from './libc.js'
import { type ProcessIdentity, processIdentity } from './proc.js'
import { withUmask } from './umask.js'

const POSIX_SPAWN_SETSIGDEF = 0x04
const POSIX_SPAWN_SETSIGMASK = 0x08
const POSIX_SPAWN_SETSID = 0x80
const WNOHANG = 1

/** posix_spawnattr_t is the largest type here: 336 bytes with glibc and with musl. */
const opaqueBytes = 1024
/** sigset_t, with glibc and with musl. */
const signalSetBytes = 128

// Safe, all of them: the buffers are as large as the types and outlive the
// calls; paths are copied by the call.
const initActions = declare<[Uint8Array]>('int posix_spawn_file_actions_init(uint8_t *actions)')
const addDup2 = declare<[Uint8Array, number, number]>(
  'int posix_spawn_file_actions_adddup2(uint8_t *actions, int fd, int to)',
)
// glibc 2.29, musl 1.1.24.
const addChdir = declare<[Uint8Array, string]>(
  'int posix_spawn_file_actions_addchdir_np(uint8_t *actions, const char *path)',
)
const destroyActions = declare<[Uint8Array]>('int posix_spawn_file_actions_destroy(uint8_t *actions)')
const initAttributes = declare<[Uint8Array]>('int posix_spawnattr_init(uint8_t *attributes)')
const setFlags = declare<[Uint8Array, number]>(
  'int posix_spawnattr_setflags(uint8_t *attributes, short flags)',
)
const setDefaultSignals = declare<[Uint8Array, Uint8Array]>(
  'int posix_spawnattr_setsigdefault(uint8_t *attributes, uint8_t *set)',
)
const setSignalMask = declare<[Uint8Array, Uint8Array]>(
  'int posix_spawnattr_setsigmask(uint8_t *attributes, uint8_t *set)',
)
// Safe: both lists end with null, and live for the call. The child shares this process's memory until it runs
// its own program, and this thread sleeps until then.
const posixSpawnp = declare<
  [Int32Array, string, Uint8Array, Uint8Array, readonly (string | null)[], readonly (string | null)[]]
>(
  'int posix_spawnp(int *pid, const char *file, uint8_t *actions, uint8_t *attributes, const char **argv, const char **envp)',
)
// Safe: `status` is one int and outlives the call.
const waitpid = declare<[number, Int32Array, number]>('int waitpid(int pid, int *status, int options)')

export interface SpawnOptions {
  /** With a slash, a path; else looked up in $PATH. */
  readonly file: string
  readonly args: readonly string[]
  readonly directory: string
  /** Descriptors that become the child's 0, 1 and 2. It gets no others, if all are close-on-exec. */
  readonly stdio: readonly [input: number, output: number, error: number]
  readonly umask: number
}

/** How a process ended; both null if something else took its status (`SIGCHLD` ignored, for example). */
export interface Exit {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

/**
 * Starts a program in a session of its own, with this process's environment, no signal blocked or ignored.
 * Unlike `child_process.spawn`, it does not fork, which copies the page tables of this process while
 * JavaScript stands still: docs/results/launch.md. Errors: LAUNCH_FAILED, INVALID_ARGUMENT.
 */
export function spawnProcess({ file, args, directory, stdio, umask }: SpawnOptions): Child {
  for (const text of [file, directory, ...args])
    if (text.includes('\0'))
      throw new VarveError('INVALID_ARGUMENT', `cannot start ${file}: an argument has a zero byte`)
  const actions = new Uint8Array(opaqueBytes)
  const attributes = new Uint8Array(opaqueBytes)
  const pid = new Int32Array(1)
  const environment = Object.entries(process.env).map(([name, value]) => `${name}=${value}`)
  const check = (call: string, number: number) => {
    if (number !== 0)
      throw new VarveError('LAUNCH_FAILED', `cannot start ${file}: ${call}: ${errnoName(number)}`, {
        details: { call, errno: errnoName(number) },
      })
  }
  check('posix_spawn_file_actions_init', initActions(actions))
  try {
    check('posix_spawn_file_actions_addchdir_np', addChdir(actions, directory))
    for (const [to, fd] of stdio.entries())
      check('posix_spawn_file_actions_adddup2', addDup2(actions, fd, to))
    // It allocates nothing, so there is nothing to destroy.
    check('posix_spawnattr_init', initAttributes(attributes))
    setFlags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID)
    setDefaultSignals(attributes, new Uint8Array(signalSetBytes).fill(0xff))
    setSignalMask(attributes, new Uint8Array(signalSetBytes))
    const start = () =>
      posixSpawnp(pid, file, actions, attributes, [file, ...args, null], [...environment, null])
    check('posix_spawnp', withUmask(umask, start))
  } finally {
    destroyActions(actions)
  }
  return new Child(pid[0] as number)
}

/** A missed signal costs this long. */
const lookEveryMs = 1000
/** Worker threads get no signals. */
const lookEveryMsInWorker = 5

const living = new Set<Child>()
const lookAtAll = () => {
  for (const child of living) child.look()
}

/** A child process. It keeps this process alive until it has ended, unless `unref` was called. */
export class Child {
  readonly identity: ProcessIdentity
  readonly exited: Promise<Exit>
  #exit: Exit | undefined
  #ended: (exit: Exit) => void = () => {}
  readonly #timer: NodeJS.Timeout

  /** Only this object may wait for the process; so its pid stays its own until `exit` is set. */
  constructor(pid: number) {
    this.identity = processIdentity(pid) ?? { pid, startTime: 0 }
    this.exited = new Promise((resolve) => {
      this.#ended = resolve
    })
    if (living.size === 0 && isMainThread) process.on('SIGCHLD', lookAtAll)
    living.add(this)
    this.#timer = setInterval(() => this.look(), isMainThread ? lookEveryMs : lookEveryMsInWorker)
  }

  get exit(): Exit | undefined {
    return this.#exit
  }

  /** Sees whether it has ended, and if so, takes its status. */
  look(): void {
    if (this.#exit !== undefined) return
    const status = new Int32Array(1)
    const found = waitpid(this.identity.pid, status, WNOHANG)
    if (found === 0) return
    this.#exit = found < 0 ? { code: null, signal: null } : exitOf(status[0] as number)
    clearInterval(this.#timer)
    living.delete(this)
    if (living.size === 0 && isMainThread) process.off('SIGCHLD', lookAtAll)
    this.#ended(this.#exit)
  }

  ref(): void {
    this.#timer.ref()
  }

  unref(): void {
    this.#timer.unref()
  }
}

const signalNames = new Map(
  Object.entries(constants.signals).map(([name, number]) => [number, name as NodeJS.Signals]),
)

/** As the macros of wait(2) take a status apart. */
function exitOf(status: number): Exit {
  const signal = status & 0x7f
  return signal === 0
    ? { code: (status >> 8) & 0xff, signal: null }
    : { code: null, signal: signalNames.get(signal) ?? null }
}
