import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { pathError, VarveError } from 'varve'
import { lockDescriptor } from 'varve/testing'
import { passing } from './environment.js'
import { type ParsedRows, parseRows, rowsLimits } from './parse-rows.js'
import { cellKey } from './plan.js'
import type { CellRow, ExperimentRows, HeaderRow, Row } from './rows.js'

/** A cell in a round, as one word. */
export const doneKey = ({ round, cell }: Pick<CellRow, 'round' | 'cell'>): string =>
  `${round} ${cellKey(cell)}`

/** Rows of a file. NOT_FOUND, PATH_INVALID, FORMAT_INVALID, FORMAT_UNSUPPORTED. */
export async function readRows(path: string): Promise<ExperimentRows> {
  await using handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK).catch(
    (error: NodeJS.ErrnoException) => {
      throw pathError(error, `cannot read ${path}: ${error.message}`, { details: { path } })
    },
  )
  return parseRows(await wholeFile(handle, path), path)
}

/**
 * A file of rows that is being written: a new one, or one that an earlier run left, with or without a cut
 * last line. Each row is on its way to the disk when `add` returns; a crash of this process loses none.
 */
export class RowsFile implements AsyncDisposable {
  readonly path: string
  readonly #handle: FileHandle
  /** Null in a file that is still empty. */
  #header: HeaderRow | null
  readonly #sets: Set<string>
  readonly #explanations: Set<string>
  /** `doneKey` of every cell that is finished. */
  readonly done: Set<string>

  private constructor(path: string, handle: FileHandle, rows: ParsedRows | null) {
    this.path = path
    this.#handle = handle
    this.#header = rows?.header ?? null
    this.#sets = new Set(rows?.sets.map(({ name }) => name))
    this.#explanations = new Set(rows?.explanations.map(({ name }) => name))
    this.done = new Set(rows?.cells.map(doneKey))
  }

  static async open(path: string): Promise<RowsFile> {
    const handle = await open(path, constants.O_RDWR | constants.O_CREAT | constants.O_APPEND, 0o600).catch(
      (cause: Error) => {
        throw new VarveError('PATH_INVALID', `cannot write ${path}: ${cause.message}`, { cause })
      },
    )
    try {
      if (!lockDescriptor(handle.fd, path))
        throw new VarveError('ALREADY_EXISTS', `another run writes ${path} at this moment`, {
          remedy: 'let it end, or name another directory with --out',
        })
      const bytes = await wholeFile(handle, path)
      // A header that was cut: nothing was measured yet.
      const rows = bytes.includes(0x0a) ? parseRows(bytes, path) : null
      if (rows === null && !'{"kind":"experiment"'.startsWith(bytes.toString('latin1', 0, 20)))
        throw new VarveError('ALREADY_EXISTS', `${path} is there and holds something else`, {
          remedy: 'name another directory with --out',
        })
      await handle.truncate(rows?.wholeBytes ?? 0)
      return new RowsFile(path, handle, rows)
    } catch (error) {
      await handle.close()
      throw error
    }
  }

  /**
   * Says what is being run. ALREADY_EXISTS if the file holds rows of another
   * plan, or from another environment.
   */
  async begin(header: HeaderRow): Promise<void> {
    const there = this.#header
    if (there === null) {
      this.#header = header
      return this.#append(header)
    }
    const remedy = 'name another directory with --out, or move the old rows away'
    if (there.plan !== header.plan || there.experiment !== header.experiment)
      throw new VarveError(
        'ALREADY_EXISTS',
        `${this.path} holds rows of ${there.experiment} from ${there.startedAt} whose plan (factors, their values, seed) is another one`,
        { remedy, details: { planThere: there.plan, planHere: header.plan } },
      )
    const differing = [...new Set([...Object.keys(there.environment), ...Object.keys(header.environment)])]
      .filter((name) => !passing.has(name) && there.environment[name] !== header.environment[name])
      .map(
        (name) =>
          `${name} (${there.environment[name] ?? 'not noted'} there, ${header.environment[name] ?? 'not noted'} here)`,
      )
    if (differing.length > 0)
      throw new VarveError(
        'ALREADY_EXISTS',
        `${this.path} holds rows from another environment: ${differing.join('; ')}`,
        { remedy },
      )
  }

  /** A cell that is there, or a set or explanation of a name that is there, is not written again. */
  async add(row: Exclude<Row, HeaderRow>): Promise<void> {
    if (row.kind !== 'cell') {
      const names = row.kind === 'set' ? this.#sets : this.#explanations
      if (names.has(row.name) || names.size >= rowsLimits.sets) return
      names.add(row.name)
    } else {
      if (this.done.has(doneKey(row))) return
      this.done.add(doneKey(row))
    }
    await this.#append(row)
  }

  async #append(row: Row): Promise<void> {
    const line = Buffer.from(`${JSON.stringify(row)}\n`)
    // Appended: a second run on the same file cannot write over this one's rows.
    for (let sent = 0; sent < line.length; )
      sent += (await this.#handle.write(line, sent, line.length - sent, null)).bytesWritten
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close()
  }
}

async function wholeFile(handle: FileHandle, path: string): Promise<Buffer> {
  const stat = await handle.stat()
  if (!stat.isFile()) throw new VarveError('PATH_INVALID', `${path} is not a regular file`)
  if (stat.size > rowsLimits.fileBytes)
    throw new VarveError('FORMAT_INVALID', `${path} has more than ${rowsLimits.fileBytes} bytes`)
  const bytes = Buffer.alloc(stat.size)
  for (let read = 0; read < bytes.length; ) {
    const { bytesRead } = await handle.read(bytes, read, bytes.length - read, read).catch((cause: Error) => {
      throw pathError(cause, `cannot read ${path}: ${cause.message}`, { details: { path } })
    })
    if (bytesRead === 0) return bytes.subarray(0, read)
    read += bytesRead
  }
  return bytes
}
