import { VarveError } from 'varve'
import { AgentCall, type CallOptions } from './agent-call.js'
import { tag } from './bounds.js'
import { timeoutField } from './command.js'
import type { AgentAddress } from './dial.js'
import type { Field } from './fields.js'
import { collect } from './run-command.js'

/** What a transfer of a file takes. */
export interface FileOptions {
  /** Whose rights the transfer has, and who owns the file that is put: as `exec` takes it. Default: root. */
  readonly user?: string
  /** The guest gives up after this long. Default: no limit. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal | undefined
  /** How long to wait for the agent. Default: 30 s. */
  readonly connectMs?: number
}

export interface PutOptions extends FileOptions {
  /** Permission bits. Default: 0o644. */
  readonly mode?: number
}

/** A file that comes from the guest. Disposing of it ends the transfer. */
export interface GuestFile extends AsyncDisposable {
  readonly mode: number
  /** What the file says of itself: 0 for files of /proc. A guest may lie. */
  readonly sizeBytes: number
  /** Its bytes. Ends with an error if the guest could not read it to the end. */
  readonly content: AsyncIterable<Buffer>
}

function pathField(path: string): Field {
  if (!path.startsWith('/') || path.includes('\0') || Buffer.byteLength(path) >= 4096)
    throw new VarveError('INVALID_ARGUMENT', `${JSON.stringify(path)} is not an absolute path in the guest`)
  return [tag.path, path]
}

const fieldsOf = (path: string, { user, timeoutMs }: FileOptions): Field[] => [
  pathField(path),
  ...(user === undefined ? [] : [[tag.user, user] as const]),
  ...timeoutField(timeoutMs),
]

const callOptions = ({ signal, connectMs, timeoutMs }: FileOptions): CallOptions => ({
  signal,
  connectMs,
  timeoutMs: timeoutMs === undefined ? undefined : timeoutMs + 10_000,
})

/**
 * Writes a file in the guest: whole and synced under its name, or not at all. Gives its size. Errors:
 * GUEST_REFUSED (no such folder, no room), and those of `AgentCall`.
 */
export async function putFile(
  address: AgentAddress,
  path: string,
  content: Uint8Array | string | AsyncIterable<Uint8Array>,
  options: PutOptions = {},
): Promise<number> {
  const { mode = 0o644 } = options
  if (!Number.isInteger(mode) || mode < 0 || mode > 0o7777)
    throw new VarveError('INVALID_ARGUMENT', `mode is ${mode}; it must be from 0 to 0o7777`)
  const fields: Field[] = [...fieldsOf(path, options), [tag.mode, mode]]
  using call = await AgentCall.open(address, 'put', fields, {
    ...callOptions(options),
    what: `put of ${path}`,
  })
  await call.accepted
  if (typeof content === 'string' || content instanceof Uint8Array) await call.input.write(content)
  else for await (const chunk of content) await call.input.write(chunk)
  await call.input.end()
  return (await call.result).required(tag.size, 'size')
}

/** Opens a file of the guest for reading. */
export async function openFile(
  address: AgentAddress,
  path: string,
  options: FileOptions = {},
): Promise<GuestFile> {
  const call = await AgentCall.open(address, 'get', fieldsOf(path, options), {
    ...callOptions(options),
    what: `get of ${path}`,
    streams: [1],
  })
  try {
    const head = await call.accepted
    return {
      mode: head.required(tag.mode, 'mode') & 0o7777,
      sizeBytes: head.required(tag.size, 'size'),
      content: call.output,
      [Symbol.asyncDispose]: async () => call[Symbol.dispose](),
    }
  } catch (error) {
    call[Symbol.dispose]()
    throw error
  }
}

/** A whole file of the guest; GUEST_PROTOCOL if it has more than `maxBytes` (16 MiB). */
export async function readGuestFile(
  address: AgentAddress,
  path: string,
  options: FileOptions & { readonly maxBytes?: number } = {},
): Promise<Buffer> {
  await using file = await openFile(address, path, options)
  return await collect(file.content, options.maxBytes ?? 16 * 1024 * 1024, path)
}
