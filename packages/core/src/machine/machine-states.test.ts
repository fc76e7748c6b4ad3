import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { adoptVmm } from '../firecracker/adopt-vmm.js'
import { connectApi } from '../firecracker/api-client.js'
import { ownIdentity } from '../sys/holder.js'
import { LiveVm } from './live-vm.js'
import { PausedMachine } from './machine-states.js'

// A server that answers as Firecracker does, for releases that are not installed.
let directory: string
let server: Server
let requests: string[]
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-paused-'))
  requests = []
})
afterEach(async () => {
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
  rmSync(directory, { recursive: true })
})

async function pausedOn(version: string, config: object): Promise<PausedMachine> {
  server = createServer((request, response) => {
    requests.push(`${request.method} ${request.url}`)
    request.resume()
    if (request.url === '/version') response.end(JSON.stringify({ firecracker_version: version }))
    else if (request.url === '/vm/config') response.end(JSON.stringify(config))
    else response.writeHead(400).end(JSON.stringify({ fault_message: 'asked' }))
  })
  await new Promise<void>((resolve) => server.listen(join(directory, 'api.sock'), resolve))
  const api = await connectApi(join(directory, 'api.sock'))
  requests = []
  const self = ownIdentity()
  const record = {
    format: 'varve-machine',
    version: 1,
    id: 'paused',
    createdAt: '',
    process: self,
    owner: null,
    boot: null,
    pidNamespace: null,
    leases: { memory: null, log: null },
    firecrackerVersion: version,
    dirtyTracking: true,
    vsockPath: null,
    guestAgent: null,
    jail: null,
    diskDirectory: null,
    snapshotId: null,
    owed: null,
    frozen: [],
    snapshotsTaken: 0,
    ranSince: false,
    pausedSinceLoad: false,
    origin: { kind: 'boot', from: '' },
    labels: {},
  } as const
  return new PausedMachine(new LiveVm(adoptVmm(self, directory), api, record, 'paused'))
}

const snapshot = (machine: PausedMachine, type: 'Full' | 'Diff') =>
  machine.snapshot({ type, statePath: join(directory, 'state'), memoryPath: join(directory, 'memory') })

test('a Diff that Firecracker would write wrongly is refused before it is asked for, a Full is not', async () => {
  const machine = await pausedOn('1.14.1', {
    'machine-config': { vcpu_count: 1, mem_size_mib: 128 },
    'memory-hotplug': { total_size_mib: 1024, block_size_mib: 2, slot_size_mib: 128 },
  })
  await expect(snapshot(machine, 'Diff')).rejects.toMatchObject({ code: 'VERSION_UNSUPPORTED' })
  expect(requests).toEqual(['GET /vm/config'])
  expect(machine.snapshotsTaken).toBe(0)
  await expect(snapshot(machine, 'Full')).rejects.toMatchObject({ details: { faultMessage: 'asked' } })
  expect(requests.at(-1)).toBe('PUT /snapshot/create')
})

test('a Diff of a guest with one slot goes on', async () => {
  const machine = await pausedOn('1.14.1', { 'machine-config': { vcpu_count: 1, mem_size_mib: 128 } })
  await expect(snapshot(machine, 'Diff')).rejects.toMatchObject({ details: { faultMessage: 'asked' } })
  expect(requests).toEqual(['GET /vm/config', 'PUT /snapshot/create'])
})
