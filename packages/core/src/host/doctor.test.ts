import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import type { MachineRecord } from '../machine/machine-record.js'
import { claimMachineDirectory } from '../machine/runtime-directory.js'
import { checkHost } from './doctor.js'

const folder = mkdtempSync(join(tmpdir(), 'varve-doctor-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const make = (name: string, mode: number): string => {
  const path = join(folder, name)
  mkdirSync(path, { recursive: true })
  chmodSync(path, mode)
  return path
}
make('well', 0o700)
make('open', 0o755)
make('inside', 0o700)
make('inside/machines', 0o755)
writeFileSync(join(folder, 'file'), '')
symlinkSync(make('target', 0o700), join(folder, 'link'))
symlinkSync('nowhere', join(folder, 'dangling'))
const long = 'x'.repeat(300)
make('dangling-inside', 0o700)
symlinkSync('nowhere', join(folder, 'dangling-inside', 'machines'))

async function runtimeCheck(name: string) {
  const checks = await checkHost({ env: { ...process.env, VARVE_RUNTIME_DIR: join(folder, name) } })
  return checks.find(({ id }) => id === 'runtime')
}

test.each(['well', 'well/new/deeper'])(
  'doctor says ok of a runtime directory that a launch can use: %s',
  async (name) => {
    expect(await runtimeCheck(name)).toMatchObject({ status: 'ok', finding: expect.stringContaining(name) })
  },
)

const unusable: readonly (readonly [string, string])[] = [
  ...['open', 'inside', 'file', 'file/below', 'link', 'dangling', 'dangling/below', 'dangling-inside'].map(
    (name) => [name, name] as const,
  ),
  ['a name of 300 characters', long],
  ['a directory below one of 300 characters', `${long}/below`],
  ['a path of 5,000 characters', 'deep/'.repeat(1000)],
]

test.each(unusable)('doctor says of %s what a launch says of it', async (_, name) => {
  const check = await runtimeCheck(name)
  let refusal: unknown
  try {
    claimMachineDirectory(join(folder, name), { id: 'one' } as MachineRecord)
  } catch (error) {
    refusal = error
  }
  expect(refusal).toMatchObject({ code: 'PATH_INVALID' })
  const { message, remedy } = refusal as { message: string; remedy: string }
  expect(check).toMatchObject({ status: 'lack', finding: expect.stringContaining(message), remedy })
})
