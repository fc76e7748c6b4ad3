import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { findFirecracker } from 'varve'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

// The packages as npm would get them, in a folder that has nothing else.
const root = fileURLToPath(new URL('../../', import.meta.url))
const directory = mkdtempSync(join(tmpdir(), 'varve-packed-'))
const home = join(directory, 'project')
const tarballs: Record<string, string> = {}
let firecracker: string

function run(
  file: string,
  args: readonly string[],
  cwd: string,
): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(file, args, {
    cwd,
    encoding: 'utf8',
    env: {
      ...process.env,
      FIRECRACKER: firecracker,
      VARVE_RUNTIME_DIR: join(directory, 'run'),
      VARVE_STORE: join(directory, 'store'),
    },
  })
}

function right(file: string, args: readonly string[], cwd = home): string {
  const { status, stdout, stderr } = run(file, args, cwd)
  expect(status, `${file} ${args.join(' ')}: ${stdout}${stderr}`).toBe(0)
  return stdout
}
// `--no-install`: npx takes what is installed here, and never asks a registry.
const varve = (...args: string[]) => right('npx', ['--no-install', 'varve', ...args])
const install = (...names: string[]) =>
  right('npm', [
    'install',
    '--prefer-offline',
    '--no-audit',
    '--no-fund',
    ...names.map((name) => tarballs[name] ?? name),
  ])

beforeAll(async () => {
  firecracker = (await findFirecracker()).path
  right(process.execPath, ['scripts/man-pages.mjs'], root)
  mkdirSync(home)
  writeFileSync(join(home, 'package.json'), '{ "private": true, "type": "module" }')
  for (const name of ['varve', '@varve/lab']) {
    const [packed] = JSON.parse(
      right('npm', ['pack', '--json', '--pack-destination', directory, '--workspace', name], root),
    )
    tarballs[name] = join(directory, packed.filename)
  }
  install('varve')
})
afterAll(() => {
  run('npx', ['--no-install', 'varve', 'stop', '--all'], home)
  rmSync(directory, { recursive: true })
})

const filesOf = (name: string) =>
  right('tar', ['-tzf', tarballs[name] ?? ''], directory)
    .trim()
    .split('\n')

describe('the packed packages', () => {
  test('hold no test, no source, and no map of a source', () => {
    for (const name of ['varve', '@varve/lab']) {
      const files = filesOf(name)
      expect(files).toContain('package/package.json')
      expect(files).toContain('package/README.md')
      expect(files).toContain('package/dist/index.js')
      expect(files.filter((file) => /\.test\.|\.map$|\/src\/|tsbuildinfo|(?<!\.d)\.ts$/.test(file))).toEqual(
        [],
      )
    }
    expect(filesOf('varve')).toContain('package/man/varve-restore.1')
    expect(filesOf('@varve/lab').filter((file) => file.startsWith('package/dist/shipped/'))).not.toEqual([])
  })

  test.each(['varve', '@varve/lab'])('publint and attw find nothing in %s', (name) => {
    right(join(root, 'node_modules/.bin/publint'), ['run', tarballs[name] ?? '', '--strict'], root)
    right(join(root, 'node_modules/.bin/attw'), [tarballs[name] ?? '', '--profile', 'esm-only'], root)
  })
})

describe('npx varve, of the package varve alone', () => {
  test('looks at the host, boots a guest, takes a snapshot, and restores it', () => {
    expect(JSON.parse(varve('doctor', '--json')).checks.length).toBeGreaterThan(5)
    // A guest that needs no image; its kernel is made here, as @varve/lab comes later.
    const make = `import { buildMicroGuest } from '@varve/lab'
import { writeFileSync } from 'node:fs'
writeFileSync(process.argv[1], buildMicroGuest())`
    right(process.execPath, ['--input-type=module', '-e', make, join(home, 'micro.elf')], root)
    varve('boot', '--kernel', 'micro.elf', '--memory', '32', '--name', 'web')
    varve('snapshot', 'create', 'web', '--tag', 'monday')
    for (const engine of ['auto', 'paged', 'mapped']) {
      const restored = JSON.parse(varve('restore', 'monday', '--name', engine, '--engine', engine, '--json'))
      expect(restored.state).toBe('running')
    }
    expect(
      JSON.parse(varve('ps', '--json'))
        .machines.map(({ id }: { id: string }) => id)
        .sort(),
    ).toEqual(['auto', 'mapped', 'paged', 'web'])
    varve('stop', '--all')
  })

  test('a verb of a package that is not installed names the command that brings it', () => {
    const { status, stderr } = run('npx', ['--no-install', 'varve', 'lab', 'ls'], home)
    expect(status).toBe(3)
    expect(stderr).toContain('try: npm install @varve/lab')
  })

  test('its types resolve', () => {
    writeFileSync(
      join(home, 'program.ts'),
      `import { restoreMachine, openLocalStore, type VarveError } from 'varve'
const store = await openLocalStore('/nowhere')
export const restored: Promise<{ readonly machine: { readonly pid: number } }> = restoreMachine(store, 'monday')
export const code = (error: VarveError): string => error.code
`,
    )
    right(join(root, 'node_modules/.bin/tsc'), [
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

test('with @varve/lab: its verbs, and one copy of the SDK', () => {
  install('@varve/lab')
  expect(varve('lab', 'ls')).toContain('micro')
  expect(JSON.parse(readFileSync(join(home, 'node_modules/@varve/lab/package.json'), 'utf8')).private).toBe(
    undefined,
  )
  const same = `import { VarveError } from 'varve'
import { checkedRounds } from '@varve/lab'
try { checkedRounds(0) } catch (error) { console.log(error instanceof VarveError) }`
  expect(right(process.execPath, ['--input-type=module', '-e', same])).toBe('true\n')
})
