// What is started, and when it counts as ready.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { hundredths } from '../common/numbers.js'
import { type FirstPages, untilFirstPages } from './first-pages.js'
import { untilExit, withHelper } from './processes.js'
import { emptyNode, type StartTimes } from './summary.js'

export interface StartCase {
  readonly node: string
  readonly side: string
  readonly name: string
  measure(): Promise<StartTimes>
}

const versions = new Map<string, string>()
export function nodeVersion(node: string): string {
  const known = versions.get(node) ?? spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout.trim()
  versions.set(node, known)
  return known
}

export interface StartSide {
  readonly side: string
  /** The checkout. */
  readonly root: string
  readonly firstPages: FirstPages | undefined
}

/** The cases of one checkout under one Node. An empty Node is one of them: both sides are in each round. */
export function casesOf(node: string, { side, root, firstPages }: StartSide): StartCase[] {
  const script = (name: string) => helperScript(root, name)
  const command = commandScript(root)
  const one = (name: string, measure: () => Promise<StartTimes>) => ({
    node: nodeVersion(node),
    side,
    name,
    measure,
  })
  const server = (runtime: string) => ({
    args: [script('page-server-main.js'), JSON.stringify({ runtime, lingerMs })],
    word: 'ready\n',
  })
  const guard = (runtime: string, pid: number) => ({
    args: [
      script('guard-main.js'),
      JSON.stringify({ runtime, lingerMs, server: { pid, startTime: startTime(pid) } }),
    ],
    word: 'watching\n',
  })
  return [
    one(emptyNode, () => untilExit(node, ['-e', '0'])),
    one('varve --help', () => untilExit(node, [command, '--help'])),
    one('varve ps', () =>
      inRuntime((runtime) => untilExit(node, [command, 'ps'], { VARVE_RUNTIME_DIR: runtime })),
    ),
    one("import 'varve'", () => importTime(node, root)),
    // A mapper says nothing until it has an order: one that cannot be read is answered at once.
    one('mapper ready', () =>
      withHelper(
        node,
        { args: [script('mapper-main.js'), `${process.pid}`], word: '\n', input: '{}\n' },
        timeOf,
      ),
    ),
    one('page server ready', () => inRuntime((runtime) => withHelper(node, server(runtime), timeOf))),
    ...(firstPages === undefined
      ? []
      : [
          one('page server, first pages of a VM', () =>
            inRuntime((runtime) => untilFirstPages(node, server(runtime), runtime, firstPages)),
          ),
        ]),
    one('guard ready', () =>
      inRuntime((runtime) =>
        withHelper(node, server(runtime), ({ pid }) => withHelper(node, guard(runtime, pid), timeOf)),
      ),
    ),
  ]
}

const lingerMs = 600_000

const timeOf = ({ ms }: StartTimes): StartTimes => ({ ms })

/** The whole process, and the import alone. */
async function importTime(node: string, root: string): Promise<StartTimes> {
  const manifest = readFileSync(join(root, 'packages/core/package.json'), 'utf8')
  const { exports } = JSON.parse(manifest) as { exports: { '.': { default: string } } }
  const url = pathToFileURL(join(root, 'packages/core', exports['.'].default)).href
  const directory = mkdtempSync(join(tmpdir(), 'varve-start-'))
  try {
    const [program, result] = [join(directory, 'import.mjs'), join(directory, 'result')]
    writeFileSync(
      program,
      `import { writeFileSync } from 'node:fs'
const from = performance.now()
await import(${JSON.stringify(url)})
writeFileSync(${JSON.stringify(result)}, String(performance.now() - from))
`,
    )
    const whole = await untilExit(node, [program])
    return { ...whole, importMs: hundredths(Number(readFileSync(result, 'utf8'))) }
  } finally {
    rmSync(directory, { recursive: true })
  }
}

async function inRuntime(use: (runtime: string) => Promise<StartTimes>): Promise<StartTimes> {
  const runtime = mkdtempSync(join(tmpdir(), 'varve-start-'))
  // A page server's own, which its starter makes: docs/formats/page-server-protocol.md.
  mkdirSync(join(runtime, 'page-server-2'), { mode: 0o700 })
  try {
    return await use(runtime)
  } finally {
    rmSync(runtime, { recursive: true, force: true })
  }
}

function commandScript(root: string): string {
  const places = ['packages/core/bin/varve.js', 'packages/cli/bin/varve.js'].map((path) => join(root, path))
  const found = places.find((path) => existsSync(path))
  if (found === undefined) throw new Error(`no command in ${root}`)
  return found
}

/** Bundles come first: what is shipped is measured. */
function helperScript(root: string, name: string): string {
  for (const folder of ['packages/core/bundle', 'packages/core/dist']) {
    const path = join(root, folder)
    const found = existsSync(path)
      ? readdirSync(path, { recursive: true, encoding: 'utf8' }).find(
          (it) => it === name || it.endsWith(`/${name}`),
        )
      : undefined
    if (found !== undefined) return join(path, found)
  }
  throw new Error(`no ${name} in ${root}: build it first`)
}

/** Field 22 of /proc/PID/stat; the name before it may have spaces. */
function startTime(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19])
}
