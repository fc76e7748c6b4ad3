import { mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { writeCrc } from '../../firecracker/state-file/crc64.js'
import { guestCpuid } from '../../firecracker/state-file/guest-cpuid.js'
import { flagsShown } from '../../host/cpu-flags.js'
import { checkArch, checkHugePages, checkOnMemoryFile, checkRegions, hostArch } from './cheap-checks.js'
import { checkSnapshot } from './check-snapshot.js'
import {
  checkClock,
  checkCpu,
  checkCpuFeatures,
  checkDevices,
  checkKernel,
  checkMemory,
  type HostFacts,
} from './host-checks.js'
import { assertPassed } from './snapshot-check.js'

const golden = fileURLToPath(new URL('../../../../../test/golden/firecracker', import.meta.url))
let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'varve-preflight-'))
  for (const version of ['1.12.1', '1.16.0']) {
    mkdirSync(join(folder, 'many', version), { recursive: true, mode: 0o755 })
    const path = join(folder, 'many', version, 'firecracker')
    writeFileSync(path, `#!/bin/sh\necho "Firecracker v${version}"\n`, { mode: 0o755 })
  }
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const host: HostFacts = {
  cpu: 'AMD EPYC 9654',
  kernel: '6.18.44',
  availableBytes: 2 ** 40,
  now: Date.parse('2026-01-31T12:00:00Z'),
}
const options = () => ({
  host,
  env: { VARVE_FIRECRACKER_DIR: join(folder, 'many'), VARVE_CACHE_DIR: join(folder, 'cache'), PATH: '' },
})
const statusOf = (checks: readonly { id: string; status: string }[]) =>
  Object.fromEntries(checks.map(({ id, status }) => [id, status]))

function memoryOf(bytes: number): string {
  const path = join(folder, 'memory')
  writeFileSync(path, '')
  truncateSync(path, bytes)
  return path
}

describe('files', () => {
  test('a state file and its memory: each thing is said, with the Firecracker that would load it', async () => {
    const checks = await checkSnapshot(
      { statePath: join(golden, '1.12.1/small/state'), memoryPath: memoryOf(128 * 2 ** 20) },
      options(),
    )
    expect(statusOf(checks)).toMatchObject({
      state: 'ok',
      firecracker: 'ok',
      arch: 'ok',
      cpu: 'warn',
      memory: 'ok',
      'huge-pages': 'ok',
      regions: 'ok',
      devices: 'warn',
      'ia32-xss': 'warn',
      'monotonic-clock': 'warn',
    })
    for (const { status, remedy } of checks) if (status !== 'ok') expect(remedy).toBeDefined()
    expect(checks.find(({ id }) => id === 'firecracker')?.says).toMatch(/Firecracker 1\.12\.1 at .*many/)
  })

  test('a memory file of another machine', async () => {
    const of = async (bytes: number) =>
      (
        await checkSnapshot(
          { statePath: join(golden, '1.12.1/small/state'), memoryPath: memoryOf(bytes) },
          options(),
        )
      ).find(({ id }) => id === 'regions')
    expect(await of(127 * 2 ** 20)).toMatchObject({ status: 'fail', code: 'IMAGE_MISMATCH' })
    expect(await of(129 * 2 ** 20)).toMatchObject({ status: 'warn' })
  })

  test('what is known of all releases that may have taken it, and of the one that would load it', async () => {
    const checks = await checkSnapshot({ statePath: join(golden, '1.16.1/small/state') }, options())
    const found = statusOf(checks)
    // 1.16.0 is the only one of its series here; 1.16.1 may have taken it, which has no ia32-xss.
    expect(found['vsock-after-restore']).toBe('warn')
    expect(found['ia32-xss']).toBeUndefined()
    expect(found.regions).toBeUndefined()
    expect(checks.find(({ id }) => id === 'vsock-bare-pause')?.source).toBe('firecracker#6100')
  })

  test('no Firecracker that loads it, a damaged file, a missing one, a later format', async () => {
    const none = await checkSnapshot({ statePath: join(golden, '1.14.4/small/state') }, options())
    expect(none.find(({ id }) => id === 'firecracker')).toMatchObject({
      status: 'fail',
      code: 'VERSION_UNSUPPORTED',
      remedy: expect.stringContaining('1.14.0 to 1.14.4'),
    })
    const damaged = join(folder, 'damaged')
    const bytes = readFileSync(join(golden, '1.12.1/small/state'))
    bytes.writeUInt8(bytes.readUInt8(2000) ^ 1, 2000)
    writeFileSync(damaged, bytes)
    for (const [statePath, code] of [
      [damaged, 'CHECKSUM_MISMATCH'],
      [join(folder, 'none'), 'NOT_FOUND'],
      [folder, 'PATH_INVALID'],
    ] as const) {
      const checks = await checkSnapshot({ statePath }, options())
      expect(checks).toEqual([expect.objectContaining({ id: 'state', status: 'fail', code })])
    }
    const eleven = join(folder, 'eleven')
    const later = new Uint8Array(readFileSync(join(golden, '1.16.1/small/state')))
    later.set(Buffer.from('11.0.0'), Buffer.from(later).indexOf('10.0.0'))
    writeCrc(later)
    writeFileSync(eleven, later)
    expect(statusOf(await checkSnapshot({ statePath: eleven }, options()))).toMatchObject({
      state: 'ok',
      firecracker: 'fail',
      'huge-pages': 'warn',
    })
  })
})

describe('each check', () => {
  test('architecture and huge pages, which a restore refuses in the same words', () => {
    expect(checkArch('x64', 'x86_64')).toMatchObject({ status: 'ok' })
    const arm = checkArch('arm64', 'x86_64')
    expect(arm).toMatchObject({
      status: 'fail',
      says: 'the snapshot is of an aarch64 machine, and this one is x86_64',
    })
    expect(() => assertPassed(arm)).toThrow(
      expect.objectContaining({ code: 'HOST_UNSUPPORTED', message: arm.says, remedy: arm.remedy }),
    )
    expect(() => assertPassed(checkArch(hostArch()))).not.toThrow()
    const none = checkHugePages('2M', 64 * 2 ** 20, () => ({ pages: 8, available: 0 }))
    expect(none).toMatchObject({ status: 'fail', remedy: 'raise vm.nr_hugepages (sysctl) by 32' })
    expect(() => assertPassed(none)).toThrow(
      expect.objectContaining({ code: 'HOST_UNSUPPORTED', message: none.says }),
    )
    const few = checkHugePages('2M', 64 * 2 ** 20, () => ({ pages: 32, available: 31 }))
    expect(few).toMatchObject({ status: 'warn', remedy: 'raise vm.nr_hugepages (sysctl) by 1' })
    expect(checkHugePages('2M', 64 * 2 ** 20, () => ({ pages: 32, available: 32 })).status).toBe('ok')
    expect(checkHugePages('1G', 0)).toMatchObject({ status: 'fail', code: 'HOST_UNSUPPORTED' })
    expect(() => assertPassed(checkHugePages('not known', 0))).not.toThrow()
    expect(checkOnMemoryFile('2M')).toMatchObject({ status: 'fail', code: 'HOST_UNSUPPORTED' })
    expect(checkOnMemoryFile('None').status).toBe('ok')
    for (const not of [undefined, null, 'None']) expect(checkHugePages(not, 1).status).toBe('ok')
  })

  test('regions', () => {
    const state = { memoryFileBytes: 4096, regions: [] }
    expect([4095, 4096, 4097].map((bytes) => checkRegions(state, bytes).status)).toEqual([
      'fail',
      'ok',
      'warn',
    ])
  })

  test('CPU, kernel, memory, clock', () => {
    const status = (it: { status: string }) => it.status
    expect(status(checkCpu('AMD EPYC 9654', 'None', host))).toBe('ok')
    expect(status(checkCpu('AMD EPYC 7763', 'T2A', host))).toBe('warn')
    expect(checkCpu('Intel(R) Xeon(R)', 'None', host)).toMatchObject({
      status: 'fail',
      code: 'HOST_UNSUPPORTED',
    })
    expect(status(checkKernel('6.18.1', host))).toBe('ok')
    expect(status(checkKernel('6.1.9', host))).toBe('warn')
    expect(status(checkMemory(2 ** 30, host))).toBe('ok')
    expect(status(checkMemory(2 ** 41, host))).toBe('warn')
    expect(status(checkClock('2026-01-31T11:59:00.000Z', host))).toBe('ok')
    expect(checkClock('2026-01-30T12:00:00.000Z', host)).toMatchObject({
      status: 'warn',
      says: expect.stringContaining('86400 s behind'),
    })
    expect(checkClock('2026-02-01T12:00:00.000Z', host).says).toContain('in the future')
  })

  test('CPU features: what the state shows the guest, against this CPU', async () => {
    const shown = [...'avx512f avx512_fp16 amx_tile'.split(' ')]
    const of = async (name: string, cpuid?: HostFacts['cpuid']) =>
      (
        await checkSnapshot(
          { statePath: join(golden, name, 'state') },
          { ...options(), host: cpuid === undefined ? host : { ...host, cpuid } },
        )
      ).find(({ id }) => id === 'cpu-features')
    const lists = guestCpuid(readFileSync(join(golden, '1.12.1/two-regions/state'))) ?? []
    const flags = new Set([...flagsShown(lists[1] ?? []), 'more'])
    const vendor = 'GenuineIntel'
    expect(await of('1.12.1/two-regions', { vendor, flags })).toMatchObject({ status: 'ok' })
    for (const flag of shown) flags.delete(flag)
    expect(await of('1.12.1/two-regions', { vendor, flags })).toMatchObject({
      status: 'fail',
      code: 'HOST_UNSUPPORTED',
      says: 'the guest was shown avx512f, avx512_fp16, which this CPU does not have',
    })
    expect(await of('1.12.1/small', { vendor: 'AuthenticAMD', flags })).toMatchObject({
      status: 'fail',
      says: expect.stringContaining('GenuineIntel'),
    })
    for (const check of [await of('1.16.1/small', { vendor, flags }), await of('1.12.1/small')])
      expect(check).toMatchObject({ status: 'warn', says: expect.stringContaining('not known') })
    expect(checkCpuFeatures([], { ...host, cpuid: { vendor, flags } })).toMatchObject({
      status: 'warn',
      says: expect.stringContaining('no CPUID was found'),
    })
  })

  test('drives, vsock and taps: what a restore refuses', () => {
    const disk = (drive: string, file: string) => ({ drive, file, readOnly: false, sizeBytes: 4096 })
    const checks = checkDevices({
      snapshot: 'x',
      disks: [disk('own', 'disk-own'), disk('foreign', '/etc/passwd'), disk('ours', 'api.sock')],
      vsockPath: join(folder, 'v.sock'),
      taps: { eth0: 'no-such-tap-9', eth1: 'lo', eth2: '../../etc' },
    })
    expect(statusOf(checks)).toEqual({
      'drive own': 'ok',
      'drive foreign': 'fail',
      'drive ours': 'fail',
      vsock: 'fail',
      'tap eth0': 'fail',
      'tap eth1': 'ok',
      'tap eth2': 'fail',
    })
    const codes = checks.filter(({ status }) => status === 'fail').map(({ code }) => code)
    expect(codes).toEqual(['PATH_INVALID', 'PATH_INVALID', 'PATH_INVALID', 'NOT_FOUND', 'NOT_FOUND'])
    const vsock = (vsockPath: string | null) =>
      checkDevices({ snapshot: 'x', disks: [], vsockPath, taps: {} })
    expect(statusOf(vsock(null))).toEqual({ drives: 'ok' })
    expect(statusOf(vsock('vsock.sock')).vsock).toBe('ok')
  })
})
