import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { nativeHost } from '../support/linux-host.js'

// Where Linux boots on the host's own KVM, scripts of the nested lab run by this.

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'varve-scripts-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const script = (code: string) => {
  const path = join(folder, 'a-script.mjs')
  writeFileSync(path, code)
  return path
}

test('a script finds what it finds in the nested lab', async () => {
  await using host = nativeHost()
  const file = join(folder, 'file')
  writeFileSync(file, 'content')
  const code = `import { readFileSync, writeFileSync } from 'node:fs'
import { bootGuest } from '@varve/guest'
import { bootMachine } from 'varve'
console.log('begun')
const { VARVE_LAB_RESULT, VARVE_RUNTIME_DIR, TMPDIR, A } = process.env
const kinds = [bootGuest, bootMachine].map((it) => typeof it)
const result = { kinds, args: process.argv.slice(2), A, file: readFileSync('in/file', 'utf8') }
result.places = [VARVE_RUNTIME_DIR, TMPDIR].map((it) => it.startsWith(process.cwd()))
writeFileSync(VARVE_LAB_RESULT, JSON.stringify(result))`
  const options = { script: script(code), args: ['a b'], env: { A: 'z' }, files: { 'in/file': file } }
  expect(await host.run(options)).toEqual({
    ...{ exitCode: 0, signal: null, stdout: 'begun\n', stderr: '' },
    result: {
      ...{ kinds: ['function', 'function'], args: ['a b'], A: 'z', file: 'content' },
      places: [true, true],
    },
  })
})

test('a script that fails says so, and one that does not end is ended', async () => {
  await using host = nativeHost()
  expect(await host.run({ script: script('process.exitCode = 3; console.error("no")') })).toMatchObject({
    ...{ exitCode: 3, stderr: 'no\n', result: undefined },
  })
  const endless = { script: script('setInterval(() => {}, 1000)'), timeoutMs: 500 }
  expect(await host.run(endless)).toMatchObject({ exitCode: null, signal: 'SIGKILL' })
})
