import { randomBytes } from 'node:crypto'
import { isIPv4 } from 'node:net'
import { VarveError } from 'varve'
import { FirstAbort } from 'varve/testing'
import { AgentCall, type Step } from './agent-call.js'
import { hostname as hostnameForm, maxEntropyBytes, minEntropyBytes, tag } from './bounds.js'
import { timeoutField } from './command.js'
import type { AgentAddress } from './dial.js'
import { broken, type Field } from './fields.js'
import { encodeRequest } from './request.js'
import { collect } from './run-command.js'
import { wallClock } from './wall-clock.js'

/** An IPv4 network, as `10.0.0.0/8`, or an address in one. */
export type Cidr = `${string}/${number}`

/** What a clone is told, because its memory is another machine's. Each part may be left out. */
export interface FixUp {
  /** Sets the wall clock to the host's. Default: true. */
  readonly clock?: boolean
  /** Bytes for the kernel's random numbers, 32 to 512. Default: 256 bytes of the host's. */
  readonly entropy?: Uint8Array | false
  readonly hostname?: string
  /** 32 hexadecimal digits, or true for new ones. */
  readonly machineId?: string | true
  readonly addresses?: readonly { readonly interface: string; readonly address: Cidr }[]
  /** Without `via` the network is on the interface's own link. */
  readonly routes?: readonly { readonly interface: string; readonly to: Cidr; readonly via?: string }[]
  /**
   * Runs the programs of /etc/varve/fixup.d, for at most this long together. Default: 30 s; false: not at
   * all.
   */
  readonly scriptsMs?: number | false
}

/** What came of a fix-up: everything that was asked for has been done. */
export interface FixedUp {
  /** In the order in which they were done, with the time of each in the guest. */
  readonly steps: readonly Step[]
  /** Of the guest's clock against the host's, before and after; positive: the guest is ahead. */
  readonly clock: {
    readonly beforeMs: number
    readonly afterMs: number
    readonly uncertaintyMs: number
  } | null
  /** Output of the scripts, standard output and error, at most 64 KiB each. */
  readonly output: { readonly stdout: Buffer; readonly stderr: Buffer }
  readonly totalMs: number
}

export interface FixUpOptions {
  readonly signal?: AbortSignal | undefined
  /** For the whole fix-up, all its calls together. Default: 30 s and what `scriptsMs` allows. */
  readonly timeoutMs?: number
}

/** The clock is right if it is not further away than this. */
export const clockToleranceMs = 5
const probes = 5
/**
 * On a busy host a try is late if this process has to wait for a CPU between the look at the clock and the
 * send.
 */
const clockTries = 20
const maxScriptOutputBytes = 64 * 1024

/**
 * Fixes a clone up: clock, entropy, host name, machine id, addresses, routes, scripts, in this order. Comes
 * back when all is done. Errors: GUEST_REFUSED, whose message names the step that failed; TIMEOUT;
 * GUEST_LOST; GUEST_PROTOCOL if the clock is not within 5 ms of the host's after 20 tries.
 */
export async function fixUpGuest(
  address: AgentAddress,
  fixUp: FixUp = {},
  options: FixUpOptions = {},
): Promise<FixedUp> {
  const start = performance.now()
  const { clock = true, scriptsMs = 30_000 } = fixUp
  const { signal, timeoutMs = 30_000 + (scriptsMs || 0) } = options
  const fields = fieldsOf(fixUp)
  // One limit for all calls: otherwise a hostile guest that answers late, and sets its clock wrongly, could
  // use it up in each of them.
  using limit = new FirstAbort([signal, AbortSignal.timeout(timeoutMs)])
  const first = await send(address, fields, clock, limit)
  let state = first.clock
  for (let tries = 1; clock; tries++) {
    const { offsetMs, uncertaintyMs } = await clockOf(address, limit)
    state = { beforeMs: state?.beforeMs ?? 0, afterMs: offsetMs, uncertaintyMs }
    if (Math.abs(offsetMs) <= clockToleranceMs) break
    if (tries === clockTries)
      throw new VarveError(
        'GUEST_PROTOCOL',
        `the guest’s clock is ${offsetMs.toFixed(1)} ms away from the host’s after ${clockTries} tries`,
      )
    await send(address, [], true, limit)
  }
  return { steps: first.steps, clock: state, output: first.output, totalMs: performance.now() - start }
}

interface Sent extends Pick<FixedUp, 'steps' | 'clock' | 'output'> {}

/**
 * The clock's field is made last: it holds for the moment when it is sent, and half of the way to the
 * guest.
 */
async function send(
  address: AgentAddress,
  fields: readonly Field[],
  clock: boolean,
  { signal }: FirstAbort,
): Promise<Sent> {
  using call = await AgentCall.connect(address, 'fix-up', { signal })
  let before: { offsetMs: number; uncertaintyMs: number } | undefined
  let clockField: Field[] = []
  if (clock) {
    before = await probe(call)
    const half = BigInt(Math.round(before.uncertaintyMs * 1e6))
    clockField = [[tag.clock, wallClock()() + half]]
  }
  call.send(encodeRequest('fixUp', [...clockField, ...fields]), [1, 2])
  const [stdout, stderr, result] = await Promise.all([
    collect(call.output, maxScriptOutputBytes, 'the output of fix-up scripts'),
    collect(call.errorOutput, maxScriptOutputBytes, 'the errors of fix-up scripts'),
    call.result,
  ])
  if (clock && !result.has(tag.was)) throw broken('no time of the clock before')
  const state =
    before === undefined
      ? null
      : { beforeMs: before.offsetMs, afterMs: 0, uncertaintyMs: before.uncertaintyMs }
  return { steps: call.steps, clock: state, output: { stdout, stderr } }
}

/** How far the guest's clock is from the host's. */
async function clockOf(
  address: AgentAddress,
  { signal }: FirstAbort,
): Promise<{ offsetMs: number; uncertaintyMs: number }> {
  using call = await AgentCall.connect(address, 'a look at the clock', { signal })
  return await probe(call)
}

/**
 * Of several signs of life the one with the shortest way: the guest's time was taken half-way, more or
 * less.
 */
async function probe(call: AgentCall): Promise<{ offsetMs: number; uncertaintyMs: number }> {
  const wall = wallClock()
  const startedAt = performance.now()
  const startedNs = wall()
  const atNs = (at: number) => startedNs + BigInt(Math.round((at - startedAt) * 1e6))
  let best: { offsetMs: number; uncertaintyMs: number } | undefined
  for (let n = 0; n < probes; n++) {
    const { wallNs, sentAt, receivedAt } = await call.ping()
    const uncertaintyMs = (receivedAt - sentAt) / 2
    const offsetMs = Number(wallNs - atNs((sentAt + receivedAt) / 2)) / 1e6
    if (best === undefined || uncertaintyMs < best.uncertaintyMs) best = { offsetMs, uncertaintyMs }
  }
  return best as { offsetMs: number; uncertaintyMs: number }
}

/** INVALID_ARGUMENT for what no guest could be told. */
export function assertFixUp(fixUp: FixUp): void {
  encodeRequest('fixUp', fieldsOf(fixUp))
}

function fieldsOf(fixUp: FixUp): Field[] {
  const {
    entropy = randomBytes(256),
    hostname,
    machineId,
    addresses = [],
    routes = [],
    scriptsMs = 30_000,
  } = fixUp
  const id = machineId === true ? randomBytes(16).toString('hex') : machineId
  if (entropy !== false && (entropy.length < minEntropyBytes || entropy.length > maxEntropyBytes))
    throw invalid(
      `entropy has ${entropy.length} bytes; it must have ${minEntropyBytes} to ${maxEntropyBytes}`,
    )
  if (hostname !== undefined && !hostnameForm.test(hostname))
    throw invalid(`${JSON.stringify(hostname)} is not a host name`)
  if (id !== undefined && !/^[0-9a-f]{32}$/.test(id)) throw invalid('machineId is not 32 hexadecimal digits')
  return [
    ...(entropy === false ? [] : [[tag.entropy, entropy] as const]),
    ...(hostname === undefined ? [] : [[tag.hostname, hostname] as const]),
    ...(id === undefined ? [] : [[tag.machineId, id] as const]),
    ...addresses.map((it): Field => [tag.address, networkBytes(it.interface, it.address)]),
    ...routes.map((it): Field => [tag.route, networkBytes(it.interface, it.to, it.via ?? '0.0.0.0')]),
    ...(scriptsMs === false ? [] : [[tag.scripts, ''] as const, ...timeoutField(scriptsMs)]),
  ]
}

const invalid = (what: string) => new VarveError('INVALID_ARGUMENT', what)

/** u8 prefix, the addresses, the name of the interface. */
function networkBytes(name: string, cidr: string, ...more: string[]): Buffer {
  const [ip = '', prefix = ''] = cidr.split('/')
  const length = Number(prefix)
  if (!isIPv4(ip) || !/^\d{1,2}$/.test(prefix) || length > 32)
    throw invalid(`${cidr} is not an IPv4 address with a prefix`)
  for (const it of more) if (!isIPv4(it)) throw invalid(`${it} is not an IPv4 address`)
  if (!/^[!-.0-~]{1,15}$/.test(name)) throw invalid(`${JSON.stringify(name)} is not the name of an interface`)
  const octets = [ip, ...more].flatMap((it) => it.split('.').map(Number))
  return Buffer.concat([Buffer.from([length, ...octets]), Buffer.from(name)])
}
