import { writeFileSync } from 'node:fs'
import { bootMicroGuest } from '@varve/lab'
import { restoreMicroGuest } from '@varve/lab/testing'
import { captureSnapshot, type MachineSpec } from 'varve'
import { expect, test } from 'vitest'
import { failure } from '../support/failure.js'
import { microWorldOfFile } from '../support/micro-world.js'

/** The devices of a spec, as Firecracker has them, at boot and after a restore. */

const world = microWorldOfFile()

const bucket = { size: 10_485_760, refillMs: 100, burst: 1_048_576 }
const asBucket = { size: 10_485_760, refill_time: 100, one_time_burst: 1_048_576 }

const devices: Partial<MachineSpec> = {
  balloon: { targetMib: 0, deflateOnOom: true, statisticsSeconds: 1 },
  entropy: { rateLimit: { bandwidth: bucket } },
  cpuTemplate: { cpuid_modifiers: [], msr_modifiers: [] },
  smt: false,
}

test('devices are as the spec says, also in each restored machine', async () => {
  const path = world.path('data.img')
  writeFileSync(path, Buffer.alloc(2 ** 20))
  const { store } = world
  const disks = [
    { id: 'data', path, cache: 'writeback', engine: 'sync', rateLimit: { bandwidth: bucket } },
  ] as const
  await using guest = await bootMicroGuest({ memoryMib: 64, ...world.launch, devices: { ...devices, disks } })
  const expected = {
    balloon: { amount_mib: 0, deflate_on_oom: true, stats_polling_interval_s: 1 },
    entropy: { rate_limiter: { bandwidth: asBucket, ops: null } },
    drives: [
      { drive_id: 'data', cache_type: 'Writeback', io_engine: 'Sync', rate_limiter: { bandwidth: asBucket } },
    ],
  }
  expect(await guest.machine.vmConfig()).toMatchObject(expected)
  for (const mode of ['stop', 'live'] as const) {
    await captureSnapshot(guest.machine, { store, mode, tags: [mode] })
    for (const engine of ['file', 'paged'] as const) {
      await using restored = await restoreMicroGuest({ ...world.launch, store }, mode, { engine })
      await restored.console.ping()
      expect(await restored.machine.vmConfig()).toMatchObject(expected)
    }
  }
})

test('what this Firecracker does not have is refused before anything is started', async () => {
  const refused = bootMicroGuest({
    memoryMib: 64,
    ...world.launch,
    devices: { pmem: [{ id: 'p', path: '/nowhere' }] },
  })
  expect(await failure(refused)).toMatchObject({ code: 'VERSION_UNSUPPORTED' })
})
