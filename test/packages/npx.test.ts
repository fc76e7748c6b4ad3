import { execFile, execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findFirecracker } from 'varve'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type NpmRegistry, npmRegistry } from '../support/npm-registry.js'

// The packages as users get them: published to a registry, and installed by name in a folder that has nothing
// else.
const root = fileURLToPath(new URL('../../', import.meta.url))
const directory = mkdtempSync(join(tmpdir(), 'varve-packed-'))
const home = join(directory, 'project')
const names = ['varve', '@varve/guest', '@varve/remote', '@varve/lab'] as const
const tarballOf = (name: string) => join(directory, `${name.replace('/', '-')}.tgz`)
const golden = join(root, 'test/golden/working-sets/groups.working-set')
let firecracker: string
let registry: NpmRegistry

interface Ended {
  readonly status: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Does not block: the registry answers from this process. */
function run(file: string, args: readonly string[], cwd: string): Promise<Ended> {
  const env = {
    ...process.env,
    ...registry.env,
    FIRECRACKER: firecracker,
    VARVE_RUNTIME_DIR: join(directory, 'run'),
    VARVE_STORE: join(directory, 'store'),
  }
  return new Promise((resolve, reject) => {
    const child = execFile(file, args, { cwd, env, maxBuffer: 2 ** 26 }, (_, stdout, stderr) =>
      resolve({ status: child.exitCode, stdout, stderr }),
    )
    child.once('error', reject)
  })
}

async function right(file: string, args: readonly string[], cwd = home): Promise<string> {
  const { status, stdout, stderr } = await run(file, args, cwd)
  expect(status, `${file} ${args.join(' ')}: ${stdout}${stderr}`).toBe(0)
  return stdout
}
// `--no-install`: npx takes what is installed here, and never asks a registry.
const varve = (...args: string[]) => right('npx', ['--no-install', 'varve', ...args])
/** Without koffi's install script, which npm 12 does not run (docs/notes/install-scripts.md). */
const install = (...names: string[]) =>
  right('npm', ['install', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', ...names])

beforeAll(async () => {
  firecracker = (await findFirecracker()).path
  registry = await npmRegistry(
    execFileSync('npm', ['config', 'get', 'registry'], { encoding: 'utf8' }).trim(),
  )
  await right(process.execPath, ['scripts/man-pages.mjs'], root)
  mkdirSync(home)
  writeFileSync(join(home, 'package.json'), '{ "private": true, "type": "module" }')
  await right(join(root, 'node_modules/.bin/changeset'), ['publish', '--no-git-tag'], root)
  for (const name of names) writeFileSync(tarballOf(name), registry.tarball(name))
  await install('varve')
})
afterAll(async () => {
  await run('npx', ['--no-install', 'varve', 'stop', '--all'], home)
  await registry[Symbol.asyncDispose]()
  rmSync(directory, { recursive: true })
})

const filesOf = async (name: string) =>
  (await right('tar', ['-tzf', tarballOf(name)], directory)).trim().split('\n')

describe('the packed packages', () => {
  test('hold no test, no source, and no map of a source', async () => {
    for (const name of names) {
      const files = await filesOf(name)
      expect(files).toContain('package/package.json')
      expect(files).toContain('package/README.md')
      expect(files).toContain('package/dist/index.js')
      expect(files.filter((file) => /\.test\.|\.map$|\/src\/|tsbuildinfo|(?<!\.d)\.ts$/.test(file))).toEqual(
        [],
      )
    }
    for (const name of names) {
      const unpacked = join(directory, `unpacked-${names.indexOf(name)}`)
      mkdirSync(unpacked)
      await right('tar', ['-xzf', tarballOf(name), '-C', unpacked], directory)
      const code = readdirSync(unpacked, { recursive: true, encoding: 'utf8' }).filter((file) =>
        /\.[jt]s$/.test(file),
      )
      const mapped = code.filter((file) =>
        readFileSync(join(unpacked, file), 'utf8').includes('//# sourceMappingURL='),
      )
      expect(mapped).toEqual([])
    }
    expect(await filesOf('varve')).toContain('package/man/varve-restore.1')
    expect(await filesOf('@varve/lab')).toContainEqual(expect.stringMatching(/^package\/dist\/shipped\//))
  })

  test.each(names)('publint and attw find nothing in %s', async (name) => {
    await right(join(root, 'node_modules/.bin/publint'), ['run', tarballOf(name), '--strict'], root)
    await right(join(root, 'node_modules/.bin/attw'), [tarballOf(name), '--profile', 'esm-only'], root)
  })
})

describe('npx varve, of the package varve alone', () => {
  test('looks at the host, boots a guest, takes a snapshot, and restores it', async () => {
    expect(JSON.parse(await varve('doctor', '--json')).checks.length).toBeGreaterThan(5)
    // A guest that needs no image; its kernel is made here, as @varve/lab comes later.
    const make = `import { buildMicroGuest } from '@varve/lab'
import { writeFileSync } from 'node:fs'
writeFileSync(process.argv[1], buildMicroGuest())`
    await right(process.execPath, ['--input-type=module', '-e', make, join(home, 'micro.elf')], root)
    await varve('boot', '--kernel', 'micro.elf', '--memory', '32', '--name', 'web')
    await varve('snapshot', 'create', 'web', '--tag', 'monday')
    for (const engine of ['auto', 'paged', 'mapped']) {
      const restored = JSON.parse(
        await varve('restore', 'monday', '--name', engine, '--engine', engine, '--json'),
      )
      expect(restored.state).toBe('running')
    }
    expect(
      JSON.parse(await varve('ps', '--json'))
        .machines.map(({ id }: { id: string }) => id)
        .sort(),
    ).toEqual(['auto', 'mapped', 'paged', 'web'])
    await varve('stop', '--all')
  })

  test('a verb of a package that is not installed names the command that brings it', async () => {
    const { status, stderr } = await run('npx', ['--no-install', 'varve', 'lab', 'ls'], home)
    expect(status).toBe(3)
    expect(stderr).toContain('try: npm install @varve/lab')
  })

  test('a guest whose agent no installed package can talk to is restored, with a note', async () => {
    await varve(
      'boot',
      '--kernel',
      'micro.elf',
      '--memory',
      '32',
      '--vsock-cid',
      '3',
      '--guest-agent',
      '--name',
      'g',
    )
    await varve('snapshot', 'create', 'g', '--tag', 'agent')
    const restore = (...more: string[]) =>
      run('npx', ['--no-install', 'varve', 'restore', 'agent', ...more, '--json'], home)
    const { status, stdout, stderr } = await restore()
    expect({ status, ...JSON.parse(stdout) }).toMatchObject({ status: 0, state: 'running', fixUp: null })
    expect(stderr).toContain(
      'the guest is not told that it is a copy: the package @varve/guest is not installed; npm install @varve/guest',
    )
    expect(await restore('--no-fix-up')).toMatchObject({ status: 0, stderr: '' })
    expect((await restore('--fix-up')).status).toBe(3)
    await varve('stop', '--all')
  })

  test('shows a working set; a picture of it needs @varve/lab', async () => {
    expect(await varve('ws', 'show', golden)).toContain('pages')
    const { status, stderr } = await run(
      'npx',
      ['--no-install', 'varve', 'ws', 'show', golden, '--png', 'a.png'],
      home,
    )
    expect(status).toBe(3)
    expect(stderr).toContain('try: npm install @varve/lab')
  })

  test('its types resolve', async () => {
    writeFileSync(
      join(home, 'program.ts'),
      `import { restoreMachine, openLocalStore, type VarveError } from 'varve'
import { flatten, type Layer } from 'varve/layers'
import { readStateFile, type StateFile } from 'varve/state-files'
import { readWorkingSet, type WorkingSet } from 'varve/working-sets'
export const read: (path: string) => Promise<WorkingSet> = readWorkingSet
export const values: readonly unknown[] = [flatten, readStateFile] satisfies unknown[]
export type Files = Layer | StateFile
const store = await openLocalStore('/nowhere')
export const restored: Promise<{ readonly machine: { readonly pid: number } }> = restoreMachine(store, 'monday')
export const code = (error: VarveError): string => error.code
`,
    )
    await right(join(root, 'node_modules/.bin/tsc'), [
      ...[
        '--noEmit',
        '--strict',
        '--module',
        'nodenext',
        '--target',
        'es2023',
        '--lib',
        'es2023,esnext.disposable',
      ],
      ...['--types', 'node', '--typeRoots', join(root, 'node_modules/@types'), 'program.ts'],
    ])
  })
})

test('with @varve/lab: its verbs, and one copy of the SDK', async () => {
  await install('@varve/lab')
  expect(await varve('lab', 'ls')).toContain('micro')
  await varve('ws', 'show', golden, '--png', 'a.png')
  expect(readFileSync(join(home, 'a.png')).toString('latin1', 1, 4)).toBe('PNG')
  expect(JSON.parse(readFileSync(join(home, 'node_modules/@varve/lab/package.json'), 'utf8')).private).toBe(
    undefined,
  )
  const same = `import { VarveError } from 'varve'
import { readLayer } from 'varve/layers'
import { byteOffset } from 'varve/state-files'
import { pageRange } from 'varve/working-sets'
import { checkedRounds } from '@varve/lab'
for (const wrong of [() => checkedRounds(0), () => byteOffset(-1), () => pageRange(-1, 1), () => readLayer('/nowhere')])
  try { await wrong() } catch (error) { console.log(error instanceof VarveError) }`
  expect(await right(process.execPath, ['--input-type=module', '-e', same])).toBe('true\n'.repeat(4))
})
