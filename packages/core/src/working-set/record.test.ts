import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { pageSizeBytes } from '../memory/units.js'
import { openDescriptors, type ProcessIdentity, processIdentity } from '../sys/proc.js'
import { recorders, recordTogether } from './record.js'
import { type DiffSource, type RecordTarget, recorderNames } from './recording.js'

const pages = 16
let directory: string
let target: RecordTarget
beforeEach(() => {
  directory = mkdtempSync('/var/tmp/varve-record-')
  const path = join(directory, 'memory')
  writeFileSync(path, Buffer.alloc(pages * pageSizeBytes, 1))
  target = { vmm: processIdentity(process.pid) as ProcessIdentity, files: [{ path, storedPages: pages }] }
})
afterEach(() => rmSync(directory, { recursive: true }))

const descriptorsHere = () =>
  openDescriptors(process.pid).filter(({ target: it }) => it.startsWith(directory))

test('each recorder has the name under which it is found', () => {
  expect(recorderNames.map((name) => recorders[name].name)).toEqual([...recorderNames])
})

test('gives what each recorded in the order of their names, and takes the Diff after the others looked', async () => {
  let openAtTheDiff = -1
  const machine: DiffSource = {
    dirtyTracking: true,
    snapshotsTaken: 0,
    takeDiff: async ({ memoryPath }) => {
      openAtTheDiff = descriptorsHere().length
      writeFileSync(memoryPath, Buffer.alloc(pages * pageSizeBytes))
    },
  }
  await using joint = await recordTogether({ ...target, machine }, ['diff', 'mincore'], { maxPages: 999 })
  expect(joint.recordings.map(({ recorder }) => recorder)).toEqual(['diff', 'mincore'])
  expect(descriptorsHere().length).toBe(1)
  await joint.scan()
  const [diff, mincore] = await joint.stop()
  expect(diff).toMatchObject({ recorder: 'diff', written: { pages } })
  expect(mincore).toMatchObject({ recorder: 'mincore', present: { pages: 0 }, scans: 2 })
  expect(openAtTheDiff).toBe(0)
})

test('where one refuses to start or fails at the end, none goes on', async () => {
  const noMachine = recordTogether(target, ['mincore', 'diff'])
  await expect(noMachine).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  expect(descriptorsHere()).toEqual([])
  // This process does not map the file, so pagemap refuses at the end.
  const joint = await recordTogether(target, ['pagemap', 'mincore'])
  await expect(joint.stop()).rejects.toMatchObject({ code: 'RECORDER_UNRELIABLE' })
  expect(descriptorsHere()).toEqual([])
  await joint[Symbol.asyncDispose]()
})

test('names must be known, and named once', async () => {
  const refused = { code: 'INVALID_ARGUMENT' }
  await expect(recordTogether(target, [])).rejects.toMatchObject(refused)
  await expect(recordTogether(target, ['mincore', 'mincore'])).rejects.toMatchObject(refused)
  await expect(recordTogether(target, ['guess' as 'mincore'])).rejects.toMatchObject(refused)
})
