import { VarveError } from 'varve'
import type { FunctionRuntime } from '../functions/function-types.js'

/** What the agent's replies say (docs/formats/agent-protocol.md), checked: a guest may answer anything. */

export interface AgentHello {
  readonly agent: string
  readonly version: number
  readonly uptimeMs: number
}

export interface StartedFunction {
  /** From the request to a function that is loaded, by the guest's clock. */
  readonly startMs: number
  /** Null for a program. */
  readonly pid: number | null
}

export interface RunningFunction {
  readonly name: string
  readonly runtime: FunctionRuntime
  readonly pid: number | null
  readonly invocations: number
  /** Its process is there, or it is a program and needs none. */
  readonly running: boolean
}

export interface FixedUp {
  /** `clock`, `hostname`, `entropy`: what was asked for and has been done. */
  readonly done: readonly string[]
  /** What the guest's clock said before. */
  readonly clockWasMs: number | null
}

export interface GuestMemory {
  /** /proc/meminfo by its names, KiB. */
  readonly meminfoKib: Readonly<Record<string, number>>
  /** Counters of /proc/vmstat since the guest's boot: pgfault, pgmajfault, pgpgin, pgpgout. */
  readonly vmstat: Readonly<Record<string, number>>
  readonly functions: readonly { readonly name: string; readonly pid: number; readonly residentKib: number }[]
}

type Header = Readonly<Record<string, unknown>>

/** More than an agent has functions or /proc/meminfo has lines. */
const maxEntries = 256

export const parseHello = (header: Header): AgentHello => ({
  agent: text(header, 'agent'),
  version: count(header, 'version'),
  uptimeMs: count(header, 'uptimeMs'),
})

export const parseStarted = (header: Header): StartedFunction => ({
  startMs: count(header, 'startUs') / 1000,
  pid: countOrNull(header, 'pid'),
})

export function parseInvocation(header: Header): { guestMs: number; handlerMs: number | null } {
  const handlerUs = countOrNull(header, 'handlerUs')
  return {
    guestMs: count(header, 'guestUs') / 1000,
    handlerMs: handlerUs === null ? null : handlerUs / 1000,
  }
}

export const parseList = (header: Header): RunningFunction[] =>
  list(header, 'functions').map((it) => ({
    name: text(it, 'name'),
    runtime: runtime(it),
    pid: countOrNull(it, 'pid'),
    invocations: count(it, 'invocations'),
    running: it.running === true,
  }))

export function parseFixedUp(header: Header): FixedUp {
  const { done } = header
  if (!Array.isArray(done) || done.length > 3 || !done.every((it) => typeof it === 'string'))
    throw unfit('done', done)
  return {
    done,
    clockWasMs: header.clockWasMs === undefined ? null : count(header, 'clockWasMs'),
  }
}

export const parseMemory = (header: Header): GuestMemory => ({
  meminfoKib: counts(header, 'meminfo'),
  vmstat: counts(header, 'vmstat'),
  functions: list(header, 'functions').map((it) => ({
    name: text(it, 'name'),
    pid: count(it, 'pid'),
    residentKib: count(it, 'residentKib'),
  })),
})

const unfit = (field: string, value: unknown) =>
  new VarveError('GUEST_PROTOCOL', `the reply’s ${field} is ${JSON.stringify(value)?.slice(0, 100)}`)

function text(header: Header, field: string): string {
  const value = header[field]
  if (typeof value !== 'string' || value.length > 256) throw unfit(field, value)
  return value
}

function count(header: Header, field: string): number {
  const value = header[field]
  if (!Number.isSafeInteger(value) || (value as number) < 0) throw unfit(field, value)
  return value as number
}

const countOrNull = (header: Header, field: string) => (header[field] === null ? null : count(header, field))

function runtime(header: Header): FunctionRuntime {
  const value = header.runtime
  if (value !== 'python' && value !== 'node' && value !== 'program') throw unfit('runtime', value)
  return value
}

function list(header: Header, field: string): Header[] {
  const value = header[field]
  if (!Array.isArray(value) || value.length > maxEntries) throw unfit(field, value)
  for (const it of value) if (typeof it !== 'object' || it === null) throw unfit(field, it)
  return value as Header[]
}

function counts(header: Header, field: string): Readonly<Record<string, number>> {
  const value = header[field]
  if (typeof value !== 'object' || value === null) throw unfit(field, value)
  const entries = Object.keys(value).slice(0, maxEntries)
  return Object.fromEntries(entries.map((name) => [name, count(value as Header, name)]))
}
