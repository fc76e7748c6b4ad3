import { readFileSync, statSync } from 'node:fs'
import { VarveError } from '../errors.js'
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
  const spec = fields(
    'spec',
    value,
    {
      name: (it) => assertMachineId(text('name')(it)),
      kernel: text('kernel'),
      initrd: text('initrd'),
      bootArgs: text('bootArgs'),
      memoryMib: integer('memoryMib', 1, 16 * 1024 * 1024),
      vcpus: integer('vcpus', 1, 32),
      rootDisk: (it) =>
        fields('rootDisk', it, { path: text('rootDisk.path'), readOnly: flag('rootDisk.readOnly') }, [
          'path',
        ]),
      disks: list('disks', (it) =>
        fields(
          'disks[]',
          it,
          {
            id: (id) => assertDriveId(text('disks[].id')(id)),
            path: text('disks[].path'),
            readOnly: flag('disks[].readOnly'),
          },
          ['id', 'path'],
        ),
      ),
      vsockCid: integer('vsockCid', 3, 2 ** 32 - 2),
      network: list('network', (it) =>
        fields(
          'network[]',
          it,
          { id: text('network[].id'), tap: text('network[].tap'), mac: text('network[].mac') },
          ['id', 'tap'],
        ),
      ),
      entropy: flag('entropy'),
      trackDirtyPages: flag('trackDirtyPages'),
      hugePages: flag('hugePages'),
    },
    ['kernel', 'memoryMib', 'vcpus'],
  )
  drivesOf(spec as Pick<MachineSpec, 'rootDisk' | 'disks'>)
  return spec as unknown as MachineSpec
}

type Check = (value: unknown) => unknown

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
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalid(name, value, 'an object')
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
