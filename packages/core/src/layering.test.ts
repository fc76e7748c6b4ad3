import { readdirSync, readFileSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

/**
 * The one-way layering of docs/architecture.md: each folder may import from itself and from what is listed.
 * `.` is files directly in src/ (errors).
 */
const allowed: Readonly<Record<string, readonly string[]>> = {
  '.': ['.'],
  sys: ['.'],
  memory: ['.', 'sys'],
  helper: ['.', 'sys'],
  firecracker: ['.', 'sys', 'memory'],
  host: ['.', 'sys', 'firecracker'],
  layer: ['.', 'sys', 'memory'],
  content: ['.', 'sys', 'memory', 'layer'],
  'working-set': ['.', 'sys', 'memory', 'layer'],
  machine: ['.', 'sys', 'memory', 'helper', 'firecracker'],
  store: ['.', 'sys', 'memory', 'layer', 'content', 'working-set'],
  'page-server': ['.', 'sys', 'memory', 'helper', 'layer', 'working-set', 'firecracker', 'machine'],
  mapper: ['.', 'sys', 'memory', 'helper', 'layer', 'firecracker'],
  freezer: ['.', 'sys', 'memory', 'helper', 'layer', 'firecracker'],
  capture: [
    ...[
      '.',
      'sys',
      'memory',
      'layer',
      'content',
      'working-set',
      'store',
      'firecracker',
      'machine',
      'freezer',
      'page-server',
    ],
  ],
  restore: [
    ...['.', 'sys', 'memory', 'layer', 'content', 'working-set', 'store', 'firecracker', 'host', 'machine'],
    ...['page-server', 'mapper'],
  ],
  clone: ['.', 'sys', 'memory', 'store', 'machine', 'page-server', 'capture', 'restore'],
}

/**
 * The same within folders that have rooms of their own: from left to right, each may import those before it.
 */
const innerOrder: Readonly<Record<string, readonly string[]>> = {
  'page-server': ['protocol', 'faults', 'prefetch', 'vm', 'process', 'client'],
}

const coreSrc = fileURLToPath(new URL('.', import.meta.url))
const root = resolve(coreSrc, '../../..')

function sources(dir: string): string[] {
  return readdirSync(dir, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
    .map((name) => join(dir, name))
}

function importsOf(file: string): string[] {
  const text = readFileSync(file, 'utf8')
  // Statements begin a line; the word "from" in a string or comment does not.
  const statement =
    /^(?:import|export)\b[^'"`;=(]*?\bfrom\s+'([^']+)'|^import\s+'([^']+)'|\bimport\(\s*'([^']+)'/gm
  return [...text.matchAll(statement)].map((match) => (match[1] ?? match[2] ?? match[3]) as string)
}

/** Files of core that a file imports. */
const ownImportsOf = (file: string): string[] =>
  importsOf(file)
    .filter((it) => it.startsWith('.'))
    .map((it) => resolve(file, '..', it).replace(/\.js$/, '.ts'))

/** Groups of files that import each other, also types only: none can be read or moved alone. */
function circles(): string[] {
  const state = new Map<string, 'open' | 'done'>()
  const path: string[] = []
  const found: string[] = []
  const visit = (file: string): void => {
    if (state.get(file) === 'done') return
    if (state.get(file) === 'open') {
      const circle = [...path.slice(path.indexOf(file)), file]
      found.push(circle.map((it) => relative(coreSrc, it)).join(' → '))
      return
    }
    state.set(file, 'open')
    path.push(file)
    for (const target of ownImportsOf(file)) visit(target)
    path.pop()
    state.set(file, 'done')
  }
  for (const file of sources(coreSrc)) visit(file)
  return found
}

/** Imports to the right within a folder of rooms. */
function innerViolations(): string[] {
  const found: string[] = []
  for (const [folder, rooms] of Object.entries(innerOrder)) {
    const roomOf = (file: string): number => {
      const [room, ...rest] = relative(join(coreSrc, folder), file).split('/')
      return rest.length === 0 ? -1 : rooms.indexOf(room as string)
    }
    for (const file of sources(join(coreSrc, folder))) {
      if (roomOf(file) === -1) found.push(`${relative(coreSrc, file)} is in no room of ${folder}`)
      for (const target of ownImportsOf(file))
        if (folderOf(target) === folder && roomOf(target) > roomOf(file))
          found.push(`${relative(coreSrc, file)} imports ${relative(coreSrc, target)}`)
    }
  }
  return found
}

const folderOf = (file: string): string => {
  const path = relative(coreSrc, file)
  return path.includes('/') ? (path.split('/')[0] as string) : '.'
}

/** What the package exports: these may import from everywhere. */
const { exports } = JSON.parse(readFileSync(join(coreSrc, '../package.json'), 'utf8')) as {
  exports: Record<string, { types: string }>
}
const doors = new Set(
  Object.values(exports).map(({ types }) => types.replace('./dist/', '').replace(/\.d\.ts$/, '.ts')),
)

/** core ← guest ← lab, and core ← remote: the project's packages that each may import, besides `varve`. */
const knownPackages: Readonly<Record<string, readonly string[]>> = {
  core: [],
  guest: [],
  remote: [],
  // Itself in the scripts that it sends into the nested lab.
  lab: ['@varve/guest', '@varve/lab'],
}

/** Only node:* and koffi may be imported by packages/core; koffi by sys/ alone. */
function violations(): string[] {
  const found: string[] = []
  for (const file of sources(coreSrc)) {
    if (doors.has(relative(coreSrc, file))) continue
    const from = folderOf(file)
    for (const target of importsOf(file)) {
      if (target.startsWith('node:')) continue
      if (target === 'koffi') {
        if (from !== 'sys') found.push(`${relative(coreSrc, file)} imports koffi outside sys/`)
        continue
      }
      if (!target.startsWith('.')) {
        found.push(`${relative(coreSrc, file)} imports ${target}: core depends on koffi and node:* only`)
        continue
      }
      const to = folderOf(resolve(file, '..', target))
      if (to !== from && !(allowed[from] ?? []).includes(to))
        found.push(`${relative(coreSrc, file)} (${from}) imports ${to}`)
    }
  }
  return found
}

describe('layering', () => {
  test('core folders import one way only, and koffi in sys/ only', () => {
    // The pattern finds imports at all: some file here uses koffi.
    expect(sources(coreSrc).some((file) => importsOf(file).includes('koffi'))).toBe(true)
    expect(violations()).toEqual([])
  })

  test('rooms within a folder import one way only', () => {
    expect(innerViolations()).toEqual([])
  })

  test('no engine is asked for by name, or imported, outside of its folder, the list and the chooser', () => {
    const allowedFiles = /^restore\/(engines\/(\w+\/|all-engines\.ts)|engine-names\.ts|choose-engine\.ts)/
    const bad = sources(coreSrc)
      .filter((file) => !allowedFiles.test(relative(coreSrc, file)))
      .filter((file) => {
        const text = readFileSync(file, 'utf8')
        return (
          /\bengine\w*\b.*'(file|paged|mapped|patched)'/.test(text) || /from '.*\/engines\/\w+\//.test(text)
        )
      })
    expect(bad.map((file) => relative(coreSrc, file))).toEqual([])
    for (const name of readdirSync(join(coreSrc, 'restore/engines')))
      for (const file of name.includes('.') ? [] : sources(join(coreSrc, 'restore/engines', name)))
        expect(importsOf(file).filter((it) => /^\.\.\/\w+\//.test(it))).toEqual([])
  })

  test('numbers of the kernel’s interface stand in sys/abi.ts alone', () => {
    const number =
      /^(?:export )?const (?:(?:SYS|MAP|MADV|O|AT|PTRACE|KVM|UFFD(?:IO)?|MSG|SOCK|LOCK)_\w+|SIG[A-Z]+) = /m
    const files = sources(coreSrc).filter((file) => number.test(readFileSync(file, 'utf8')))
    expect(files.map((file) => relative(coreSrc, file))).toEqual(['sys/abi.ts'])
  })

  test('no files import each other in a circle', () => {
    expect(circles()).toEqual([])
  })

  test('layers and stores change the disk through sys/mutations.ts alone, where tests can stop them', () => {
    const harmless =
      /^(constants|open|stat|lstat|statfs|readdir|readFile|[lf]?statSync|readSync|readFileSync)$/
    // Neither can lose anything: modes of a file that has no name yet, and the store's own directory.
    const known = ['store/blobs.ts chmod', 'store/create-store.ts mkdir']
    const found: string[] = []
    for (const folder of ['layer', 'store'])
      for (const file of sources(join(coreSrc, folder)))
        for (const [, names] of readFileSync(file, 'utf8').matchAll(
          /^import \{([^}]*)\} from 'node:fs(?:\/promises)?'/gm,
        ))
          for (const name of (names as string).split(',').map((it) => it.trim()))
            if (!/^(type .*)?$/.test(name) && !harmless.test(name))
              found.push(`${relative(coreSrc, file)} ${name}`)
    expect(found).toEqual(known)
  })

  test('packages, tests and scripts use the doors of other packages, and packages import one way only', () => {
    const bad: string[] = []
    for (const file of outsideFiles()) {
      const own = /^packages\/\w+/.exec(relative(root, file))?.[0]
      for (const target of insidesNamedIn(file))
        if (own === undefined || !target.startsWith(own)) bad.push(`${relative(root, file)}: ${target}`)
      for (const target of importsOf(file))
        if (own !== undefined && /koffi/.test(target)) bad.push(`${relative(root, file)}: ${target}`)
    }
    for (const [folder, known] of Object.entries(knownPackages))
      for (const file of sources(join(root, 'packages', folder, 'src')))
        for (const target of importsOf(file))
          if (
            target.startsWith('@varve/') &&
            !known.some((it) => target === it || target.startsWith(`${it}/`))
          )
            bad.push(`${relative(root, file)}: ${target}`)
    expect(bad).toEqual([])
  })
})

/** All programs of the repository outside of core's sources. */
function outsideFiles(): string[] {
  return [
    'packages/cli',
    'packages/guest',
    'packages/remote',
    'packages/lab',
    'packages/bench',
    'test',
    'scripts',
    'examples',
  ].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.(ts|mjs|js)$/.test(name) && !/(^|\/)(dist|node_modules)\//.test(name))
      .map((name) => join(root, folder, name)),
  )
}

/** Paths into `dist` or `src` of packages, as `packages/NAME/…`, that an import or a URL names. */
function insidesNamedIn(file: string): string[] {
  const text = readFileSync(file, 'utf8')
  return [...text.matchAll(/['"`](\.\.?\/[^'"`\n]*)['"`]/g)]
    .map(([, path]) => relative(root, resolve(file, '..', path as string)))
    .filter((path) => /^packages\/\w+\/(dist|src)\/.*\.[jt]s$/.test(path))
}
