/**
 * Every error Varve throws on purpose. Codes are a contract: programs may branch on them, so a code is never
 * renamed and never reused. `docs/errors.md` lists each one and a test holds the two together.
 */
export const errorRegistry = {
  // environment: something this machine lacks
  BINARY_NOT_FOUND: { exit: 3, summary: 'No usable Firecracker binary was found or could be fetched.' },
  BINARY_CHECKSUM: { exit: 3, summary: 'A downloaded file does not have its pinned SHA-256.' },
  VERSION_UNSUPPORTED: {
    exit: 3,
    summary: 'The Firecracker version lacks the asked-for call, field or format.',
  },
  HOST_UNSUPPORTED: { exit: 3, summary: 'The host lacks a device, kernel feature, tool or privilege.' },
  WRITE_FAILED: {
    exit: 3,
    summary: 'The file system refused a write: no space, a quota, read-only, or an I/O error.',
  },
  // input: what the caller or a file said
  USAGE: { exit: 2, summary: 'A command line that does not parse or contradicts itself.' },
  INVALID_ARGUMENT: { exit: 2, summary: 'A value outside its documented range or shape.' },
  EXPERIMENTAL: {
    exit: 2,
    summary: 'An experimental engine was asked for without the option that allows it.',
  },
  PATH_INVALID: {
    exit: 2,
    summary: 'A path that is unsafe, too long for a Unix socket, or of the wrong kind.',
  },
  NOT_FOUND: { exit: 6, summary: 'The named file, machine or snapshot does not exist.' },
  ALREADY_EXISTS: { exit: 2, summary: 'The target exists and is not overwritten.' },
  FORMAT_INVALID: { exit: 4, summary: 'A file or message does not follow its format.' },
  FORMAT_UNSUPPORTED: { exit: 4, summary: 'A file follows a format version that this Varve does not know.' },
  CHECKSUM_MISMATCH: { exit: 4, summary: 'A stored checksum and the bytes disagree.' },
  IMAGE_MISMATCH: { exit: 4, summary: 'Layers, state and image do not belong together.' },
  STORE_DAMAGED: { exit: 4, summary: 'A check of a store found data that is wrong or lost.' },
  // machine: what the VMM or guest did
  API_REFUSED: { exit: 5, summary: 'Firecracker answered a request with an error.' },
  API_TRANSPORT: { exit: 5, summary: 'The API socket failed before an answer came.' },
  LAUNCH_FAILED: { exit: 5, summary: 'Firecracker did not start.' },
  LOAD_FAILED: { exit: 5, summary: 'Firecracker refused to load a snapshot; the process has ended.' },
  MACHINE_EXITED: { exit: 5, summary: 'The Firecracker process ended while it was still needed.' },
  MACHINE_STATE: { exit: 5, summary: 'The call is not legal in the machine’s present state.' },
  GUEST_PROTOCOL: {
    exit: 5,
    summary: 'The guest answered something its protocol does not allow, or not in time.',
  },
  GUEST_REFUSED: { exit: 5, summary: 'The guest’s agent could not do what it was asked for.' },
  GUEST_LOST: {
    exit: 5,
    summary: 'The connection to the guest’s agent ended during a call; what the call did is not known.',
  },
  GUEST_MEMORY: { exit: 4, summary: 'Guest memory does not hold what the guest was told to write.' },
  PAGE_SERVER_DIED: {
    exit: 5,
    summary: 'No process could bring the VM’s pages any more; the VM was killed.',
  },
  PAGE_SERVER_PROTOCOL: { exit: 5, summary: 'A page-server peer broke the handshake or control protocol.' },
  PLACE_REFUSED: { exit: 5, summary: 'A registry or a bucket refused a request, or broke its protocol.' },
  PLACE_UNREACHABLE: {
    exit: 5,
    summary: 'A registry or a bucket did not answer, or failed, for as long as was waited.',
  },
  COMMAND_FAILED: { exit: 5, summary: 'A command that Varve was told to run failed.' },
  INJECTION_FAILED: {
    exit: 5,
    summary: 'Memory could not be mapped into the VMM; the VM was killed.',
  },
  RECORDER_UNRELIABLE: { exit: 5, summary: 'A recorder cannot tell which pages were touched.' },
  LAB_FAILED: { exit: 5, summary: 'A lab (native or nested) did not start, or a script in it failed.' },
  SYSCALL_FAILED: { exit: 1, summary: 'A system call failed in a way that has no better code.' },
  TIMEOUT: { exit: 5, summary: 'Something did not happen in its time.' },
  INTERRUPTED: { exit: 130, summary: 'Ctrl-C, SIGTERM or an abort signal ended the work.' },
} as const satisfies Record<string, { exit: number; summary: string }>

/** A stable name of what went wrong; docs/errors.md lists them all. */
export type ErrorCode = keyof typeof errorRegistry

/** What a `VarveError` has besides code and message. */
export interface VarveErrorOptions {
  /** The error that this one comes from. */
  readonly cause?: unknown
  /** What to do about it, one sentence, if known. Shown after the message. */
  readonly remedy?: string | undefined
  /** Machine-readable facts (paths, offsets, versions) for `--json`. */
  readonly details?: Readonly<Record<string, unknown>>
}

/** The one error class. `message` names the thing and its value; `remedy` says what to do. */
export class VarveError extends Error {
  /** What went wrong, for programs. */
  readonly code: ErrorCode
  /** What to do about it, one sentence; undefined if that is not known. */
  readonly remedy: string | undefined
  /** Facts about it, for programs (paths, offsets, versions); {} if there are none. */
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, message: string, options: VarveErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'VarveError'
    this.code = code
    this.remedy = options.remedy
    this.details = options.details ?? {}
  }

  /** Process exit status for this error, see docs/errors.md. */
  get exitCode(): number {
    return errorRegistry[this.code].exit
  }

  /** Code, message, remedy and details, as `--json` prints them. */
  toJSON(): Record<string, unknown> {
    return {
      code: this.code,
      message: this.message,
      ...(this.remedy === undefined ? {} : { remedy: this.remedy }),
      ...(Object.keys(this.details).length === 0 ? {} : { details: this.details }),
    }
  }
}

/** Whether an error is one of Varve's; with `code`, whether it has that code. `error` may be any value. */
export function isVarveError(error: unknown, code?: ErrorCode): error is VarveError {
  return error instanceof VarveError && (code === undefined || error.code === code)
}
