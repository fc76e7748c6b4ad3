import { VarveError } from '../errors.js'
import { readSmallFile } from '../sys/small-file.js'

/** Levels of nesting; what Varve writes has six at most. */
const maxDepth = 32

/**
 * A JSON file that may come from anywhere: a regular file, bounded before it is read, UTF-8, not too deep.
 */
export function readJsonFile(path: string, maxBytes: number): unknown {
  return parseJson(readSmallFile(path, maxBytes), path)
}

export function parseJson(bytes: Buffer, path: string): unknown {
  const invalid = (detail: string, cause?: unknown) =>
    new VarveError('FORMAT_INVALID', `${path}, byte ${offsetOf(cause)}: ${detail}`, {
      cause,
      details: { path, offset: offsetOf(cause) },
    })
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (cause) {
    throw invalid('it is not UTF-8', cause)
  }
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (cause) {
    throw invalid(`it is not JSON (${(cause as Error).message})`, cause)
  }
  if (!isShallow(value, maxDepth)) throw invalid(`it is more than ${maxDepth} levels deep`)
  return value
}

/** The parser says where it stopped; near enough to a byte for a file of ASCII. */
function offsetOf(cause: unknown): number {
  const found = /position (\d+)/.exec(cause instanceof Error ? cause.message : '')
  return found === null ? 0 : Number(found[1])
}

/** Level by level, not by recursion: the depth is what the file says. */
function isShallow(value: unknown, levels: number): boolean {
  let level = [value]
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > levels) return false
    level = level
      .filter((item) => typeof item === 'object' && item !== null)
      .flatMap((item) => Object.values(item as object))
  }
  return true
}

/** Checks of one file's fields; every refusal is FORMAT_INVALID and names file and field. */
export class Fields {
  readonly #path: string
  readonly #value: Readonly<Record<string, unknown>>

  constructor(path: string, value: unknown, where = 'the file') {
    this.#path = path
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw this.refusal(where, value, 'an object')
    this.#value = value as Record<string, unknown>
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#value, name) && this.#value[name] !== undefined
  }

  raw(name: string): unknown {
    return this.has(name) ? this.#value[name] : undefined
  }

  text(name: string, pattern: RegExp, what: string): string {
    const value = this.raw(name)
    if (typeof value !== 'string' || value.length > 4096 || !pattern.test(value))
      throw this.refusal(name, value, what)
    return value
  }

  whole(name: string, low: number, high: number): number {
    const value = this.raw(name)
    if (typeof value !== 'number' || !Number.isInteger(value) || value < low || value > high)
      throw this.refusal(name, value, `a whole number from ${low} to ${high}`)
    return value
  }

  flag(name: string): boolean {
    const value = this.raw(name)
    if (typeof value !== 'boolean') throw this.refusal(name, value, 'true or false')
    return value
  }

  list(name: string, maxLength: number): readonly unknown[] {
    const value = this.raw(name)
    if (!Array.isArray(value) || value.length > maxLength)
      throw this.refusal(name, value, `a list of at most ${maxLength}`)
    return value
  }

  object(name: string): Fields {
    return new Fields(this.#path, this.raw(name), name)
  }

  record(name: string): Readonly<Record<string, unknown>> {
    return this.object(name).#value
  }

  /** Strings by name, as OCI annotations are; none if the field is missing. */
  strings(name: string): Readonly<Record<string, string>> {
    if (!this.has(name)) return {}
    const entries = Object.entries(this.record(name))
    if (entries.length > 256) throw this.refusal(name, entries.length, 'at most 256 strings')
    for (const [key, value] of entries)
      if (typeof value !== 'string' || value.length > 65_536)
        throw this.refusal(`${name}.${key}`, value, 'a string')
    return Object.fromEntries(entries) as Record<string, string>
  }

  refusal(name: string, value: unknown, expected: string): VarveError {
    const shown = JSON.stringify(value)?.slice(0, 100) ?? 'missing'
    return new VarveError('FORMAT_INVALID', `${this.#path}: ${name} is ${shown}, not ${expected}`, {
      details: { path: this.#path, field: name, offset: 0 },
    })
  }
}
