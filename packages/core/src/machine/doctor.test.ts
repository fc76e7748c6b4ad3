import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { checkHost } from './doctor.js'
import type { MachineRecord } from './machine-record.js'
import { claimMachineDirectory } from './runtime-directory.js'

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

test.each(['open', 'inside', 'file', 'file/below', 'link'])(
  'doctor says of %s what a launch says of it',
  async (name) => {
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
  },
)
