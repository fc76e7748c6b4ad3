import { readFileSync, statSync } from 'node:fs'
import { VarveError } from '../errors.js'
import { maxVsockPort } from '../guest-agent-place.js'
import { pathError } from '../not-found.js'
import { assertDriveId, drivesOf } from './disks.js'
import type { MachineSpec } from './machine-spec.js'
import { assertMachineId } from './runtime-directory.js'

/** A spec file is a page of JSON at most. */
const maxSpecBytes = 1024 * 1024

/**
 * Reads a spec from a JSON file, and checks it as `machineSpec` does. NOT_FOUND, PATH_INVALID,
 * FORMAT_INVALID, INVALID_ARGUMENT.
 */
export function readMachineSpec(path: string): MachineSpec {
  let value: unknown
  try {
    if (statSync(path).size > maxSpecBytes)
      throw new VarveError('FORMAT_INVALID', `${path} exceeds ${maxSpecBytes} bytes`)
    value = JSON.parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    if (cause instanceof VarveError) throw cause
    const message = `machine spec ${path}: ${(cause as Error).message}`
    if ((cause as NodeJS.ErrnoException).code === undefined)
      throw new VarveError('FORMAT_INVALID', message, { cause })
    throw pathError(cause, message)
  }
  return machineSpec(value)
}

/**
 * Checks every field of an untrusted value; INVALID_ARGUMENT names the field, its value and what it may be.
 */
export function machineSpec(value: unknown): MachineSpec {
  const spec = fields('spec', value, specChecks, ['kernel', 'memoryMib', 'vcpus'])
  const { network = [], mmds, guestAgent, vsockCid } = spec as unknown as MachineSpec
  drivesOf(spec as Pick<MachineSpec, 'rootDisk' | 'disks' | 'pmem'>)
  if (guestAgent !== undefined && vsockCid === undefined)
    throw invalid('guestAgent', guestAgent, 'absent without vsockCid: the agent is reached by vsock')
  for (const id of mmds?.interfaces ?? [])
    if (!network.some((it) => it.id === id))
      throw invalid('mmds.interfaces', id, 'the id of one of the network interfaces')
  return spec as unknown as MachineSpec
}

type Check = (value: unknown) => unknown

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

function invalid(name: string, value: unknown, expected: string): VarveError {
  return new VarveError(
    'INVALID_ARGUMENT',
    `${name} is ${JSON.stringify(value)?.slice(0, 100)}; it must be ${expected}`,
    // "spec.kernel" and "disks[].path" are about the fields kernel and disks.
    { details: { field: name.replace(/^spec\./, '').split(/[.[]/)[0] } },
  )
}

const text =
  (name: string) =>
  (value: unknown): string => {
    if (typeof value !== 'string' || value === '' || value.includes('\0'))
      throw invalid(name, value, 'a non-empty string')
    return value
  }
const flag =
  (name: string): Check =>
  (value) => {
    if (typeof value !== 'boolean') throw invalid(name, value, 'true or false')
    return value
  }
const integer =
  (name: string, low: number, high: number): Check =>
  (value) => {
    if (typeof value !== 'number' || !Number.isInteger(value) || value < low || value > high)
      throw invalid(name, value, `a whole number from ${low} to ${high}`)
    return value
  }
const oneOf =
  (name: string, ...known: readonly string[]): Check =>
  (value) => {
    if (!known.includes(value as string)) throw invalid(name, value, known.join(' or '))
    return value
  }
const list =
  (name: string, check: Check): Check =>
  (value) => {
    if (!Array.isArray(value) || value.length > 32) throw invalid(name, value, 'a list of at most 32')
    return value.map(check)
  }

function fields(
  name: string,
  value: unknown,
  checks: Record<string, Check>,
  required: readonly string[],
): Record<string, unknown> {
  if (!isObject(value)) throw invalid(name, value, 'an object')
  const result: Record<string, unknown> = {}
  for (const [key, field] of Object.entries(value)) {
    const check = Object.hasOwn(checks, key) ? checks[key] : undefined
    if (!check)
      throw invalid(`${name}.${key}`, field, `absent; known fields are ${Object.keys(checks).join(', ')}`)
    if (field !== undefined) result[key] = check(field)
  }
  for (const key of required) if (!(key in result)) throw invalid(`${name}.${key}`, undefined, 'given')
  return result
}

/** An object of these fields, of which only `required` must be there. */
const object =
  (name: string, checks: (name: string) => Record<string, Check>, required: readonly string[]): Check =>
  (value) =>
    fields(name, value, checks(name), required)

/** Tokens and times are 64 bits wide in Firecracker; numbers of JSON are whole up to here. */
const most = Number.MAX_SAFE_INTEGER

const tokenBucket = (name: string): Check =>
  object(
    name,
    (of) => ({
      size: integer(`${of}.size`, 1, most),
      refillMs: integer(`${of}.refillMs`, 0, most),
      burst: integer(`${of}.burst`, 0, most),
    }),
    ['size', 'refillMs'],
  )

const rateLimit = (name: string): Check =>
  object(
    name,
    (of) => ({ bandwidth: tokenBucket(`${of}.bandwidth`), operations: tokenBucket(`${of}.operations`) }),
    [],
  )

const diskChecks = (name: string): Record<string, Check> => ({
  path: text(`${name}.path`),
  readOnly: flag(`${name}.readOnly`),
  copy: flag(`${name}.copy`),
  cache: oneOf(`${name}.cache`, 'unsafe', 'writeback'),
  engine: oneOf(`${name}.engine`, 'sync', 'async'),
  rateLimit: rateLimit(`${name}.rateLimit`),
})

const driveId =
  (name: string): Check =>
  (value) =>
    assertDriveId(text(`${name}.id`)(value))

const maxMemoryMib = 16 * 1024 * 1024

const specChecks: Record<string, Check> = {
  name: (it) => assertMachineId(text('name')(it)),
  kernel: text('kernel'),
  initrd: text('initrd'),
  bootArgs: text('bootArgs'),
  memoryMib: integer('memoryMib', 1, maxMemoryMib),
  vcpus: integer('vcpus', 1, 32),
  smt: flag('smt'),
  cpuTemplate: (it) => (isObject(it) ? it : text('cpuTemplate')(it)),
  rootDisk: object('rootDisk', diskChecks, ['path']),
  disks: list(
    'disks',
    object('disks[]', (of) => ({ id: driveId(of), ...diskChecks(of) }), ['id', 'path']),
  ),
  pmem: list(
    'pmem',
    object(
      'pmem[]',
      (of) => {
        const { path, readOnly, rateLimit } = diskChecks(of) as Record<string, Check>
        return { id: driveId(of), path, readOnly, rateLimit, root: flag(`${of}.root`) } as Record<
          string,
          Check
        >
      },
      ['id', 'path'],
    ),
  ),
  vsockCid: integer('vsockCid', 3, 2 ** 32 - 2),
  guestAgent: object('guestAgent', (of) => ({ port: integer(`${of}.port`, 1, maxVsockPort) }), ['port']),
  network: list(
    'network',
    object(
      'network[]',
      (of) => ({
        id: text(`${of}.id`),
        tap: text(`${of}.tap`),
        mac: text(`${of}.mac`),
        mtu: integer(`${of}.mtu`, 68, 65_535),
        receiveLimit: rateLimit(`${of}.receiveLimit`),
        transmitLimit: rateLimit(`${of}.transmitLimit`),
      }),
      ['id', 'tap'],
    ),
  ),
  mmds: object(
    'mmds',
    (of) => ({
      interfaces: list(`${of}.interfaces`, text(`${of}.interfaces[]`)),
      version: oneOf(`${of}.version`, 'v1', 'v2'),
      address: text(`${of}.address`),
      imdsCompatible: flag(`${of}.imdsCompatible`),
    }),
    ['interfaces'],
  ),
  balloon: object(
    'balloon',
    (of) => ({
      targetMib: integer(`${of}.targetMib`, 0, maxMemoryMib),
      deflateOnOom: flag(`${of}.deflateOnOom`),
      statisticsSeconds: integer(`${of}.statisticsSeconds`, 0, 65_535),
      hinting: flag(`${of}.hinting`),
      reporting: flag(`${of}.reporting`),
    }),
    ['targetMib'],
  ),
  hotplugMemory: object(
    'hotplugMemory',
    (of) => ({
      totalMib: integer(`${of}.totalMib`, 1, maxMemoryMib),
      blockMib: integer(`${of}.blockMib`, 1, maxMemoryMib),
      slotMib: integer(`${of}.slotMib`, 1, maxMemoryMib),
    }),
    ['totalMib'],
  ),
  entropy: (it) =>
    isObject(it)
      ? fields('entropy', it, { rateLimit: rateLimit('entropy.rateLimit') }, ['rateLimit'])
      : flag('entropy')(it),
  serialLimit: tokenBucket('serialLimit'),
  trackDirtyPages: flag('trackDirtyPages'),
  hugePages: flag('hugePages'),
}
