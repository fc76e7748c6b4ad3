import { copyFileSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Digest } from '../content/descriptors.js'
import { bootId, type Holder, ownIdentity, pidNamespace } from '../sys/holder.js'
import { leaseToOther, leaseToSelf, readLeases } from './leases.js'

let directory: string
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-leases-'))
})
afterEach(() => {
  rmSync(directory, { recursive: true })
})

const [one, two] = ['1', '2'].map((digit) => digit.repeat(32)) as [string, string]
const manifestOf = (digit: string): Digest => `sha256:${digit.repeat(64)}`
const me = (): Holder => ({
  ...{ boot: bootId(), pidNamespace: pidNamespace(), process: ownIdentity(), lock: null },
})

describe('leases', () => {
  test('of another process are one for each snapshot and manifest, and never replace each other', async () => {
    for (const [snapshot, manifest] of [
      [one, manifestOf('a')],
      [one, manifestOf('b')],
      [two, manifestOf('a')],
      [two, manifestOf('a')],
    ] as const)
      leaseToOther(directory, me(), snapshot, manifest)
    const { live, stale } = await readLeases(directory)
    expect(live.map(({ snapshot, manifest }) => [snapshot, manifest]).sort()).toEqual([
      [one, manifestOf('a')],
      [one, manifestOf('b')],
      [two, manifestOf('a')],
    ])
    expect(stale).toEqual([])
  })

  test('of this process end with `end`, and are stale once nothing has them locked', async () => {
    const lease = leaseToSelf(directory, one, manifestOf('a'))
    expect((await readLeases(directory)).live).toHaveLength(1)
    // As a process leaves it that was killed: the same file, and no lock.
    const copy = join(directory, 'left.json')
    copyFileSync(lease.path, copy)
    expect((await readLeases(directory)).stale).toEqual([copy])
    rmSync(copy)
    lease.end()
    expect(readdirSync(directory)).toEqual([])
  })

  test('of an older version are judged by pid and start time', async () => {
    const older = {
      format: 'varve-lease',
      version: 1,
      boot: bootId(),
      snapshot: one,
      manifest: manifestOf('a'),
    }
    const write = (name: string, change: object) =>
      writeFileSync(join(directory, name), JSON.stringify({ ...older, ...change }))
    write('lives.json', { process: ownIdentity() })
    write('ended.json', { process: { pid: 2 ** 22, startTime: 1 } })
    write('boot.json', { process: ownIdentity(), boot: 'another' })
    const { live, stale } = await readLeases(directory)
    expect(live.map(({ path }) => path)).toEqual([join(directory, 'lives.json')])
    expect([...stale].sort()).toEqual([join(directory, 'boot.json'), join(directory, 'ended.json')])
  })
})
