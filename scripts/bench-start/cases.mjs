// What is started, and when it counts as ready.
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** An emulated or busy host needs seconds. */
const timeoutMs = 60_000

const versions = new Map()
export function nodeVersion(node) {
  if (!versions.has(node))
    versions.set(node, spawnSync(node, ['--version'], { encoding: 'utf8' }).stdout.trim())
  return versions.get(node)
}

/** The cases of one checkout under one Node. An empty Node is one of them: both sides are in each round. */
export function casesOf(node, side, root) {
  const script = (name) => helperScript(root, name)
  const command = commandScript(root)
  const one = (name, measure) => ({ node: nodeVersion(node), side, name, measure })
  return [
    one('node -e 0', () => untilExit(node, ['-e', '0'])),
    one('varve --help', () => untilExit(node, [command, '--help'])),
    one('varve ps', () =>
      inRuntime((runtime) => untilExit(node, [command, 'ps'], { VARVE_RUNTIME_DIR: runtime })),
    ),
    one("import 'varve'", () => importTime(node, root)),
    one('mapper ready', () => mapperReady(node, script('mapper-main.js'))),
    one('page server ready', () =>
      inRuntime((runtime) => withServer(node, script('page-server-main.js'), runtime, ({ ms }) => ({ ms }))),
    ),
    one('guard ready', () =>
      inRuntime((runtime) =>
        withServer(node, script('page-server-main.js'), runtime, async ({ pid }) => {
          const order = { runtime, lingerMs, server: { pid, startTime: startTime(pid) } }
          return withHelper(
            node,
            [script('guard-main.js'), JSON.stringify(order)],
            'watching\n',
            ({ ms }) => ({ ms }),
          )
        }),
      ),
    ),
  ]
}

const lingerMs = 600_000

/** The whole life of a process. */
function untilExit(node, args, env = {}) {
  const from = performance.now()
  const child = spawn(node, args, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } })
  child.stdout.resume()
  let words = ''
  child.stderr.on('data', (part) => {
    words += part
  })
  return new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (status) => {
      const ms = rounded(performance.now() - from)
      if (status === 0) resolve({ ms })
      else reject(new Error(`${args.join(' ')} ended with ${status}: ${words}`))
    })
  })
}

/** The whole process, and the import alone. */
async function importTime(node, root) {
  const { exports } = JSON.parse(readFileSync(join(root, 'packages/core/package.json'), 'utf8'))
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
    return { ...whole, importMs: rounded(Number(readFileSync(result, 'utf8'))) }
  } finally {
    rmSync(directory, { recursive: true })
  }
}

/** A mapper says nothing until it has an order: one that cannot be read is answered at once. */
function mapperReady(node, script) {
  return withHelper(node, [script, `${process.pid}`], '\n', ({ ms }) => ({ ms }), '{}\n')
}

function withServer(node, script, runtime, use) {
  return withHelper(node, [script, JSON.stringify({ runtime, lingerMs })], 'ready\n', use)
}

/** Starts a helper, and ends it after `use`, which gets its pid and the time until it said `word`. */
async function withHelper(node, args, word, use, input) {
  const from = performance.now()
  const child = spawn(node, args, { stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'] })
  const ended = new Promise((resolve) => child.once('close', resolve))
  let [heard, words] = ['', '']
  child.stderr.on('data', (part) => {
    words += part
  })
  if (input !== undefined) child.stdin.write(input)
  try {
    const ms = await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${args[0]} is not ready: ${words}`)), timeoutMs)
      child.once('error', reject)
      child.once('close', () => reject(new Error(`${args[0]} ended: ${words}`)))
      child.stdout.on('data', (part) => {
        heard += part
        if (!heard.includes(word)) return
        clearTimeout(timer)
        resolve(rounded(performance.now() - from))
      })
    })
    return await use({ ms, pid: child.pid })
  } finally {
    child.kill('SIGKILL')
    await ended
  }
}

async function inRuntime(use) {
  const runtime = mkdtempSync(join(tmpdir(), 'varve-start-'))
  // A page server's own, which its starter makes: docs/formats/page-server-protocol.md.
  mkdirSync(join(runtime, 'page-server-2'), { mode: 0o700 })
  try {
    return await use(runtime)
  } finally {
    rmSync(runtime, { recursive: true, force: true })
  }
}

function commandScript(root) {
  const places = ['packages/core/bin/varve.js', 'packages/cli/bin/varve.js'].map((path) => join(root, path))
  return places.find((path) => existsSync(path)) ?? fail(`no command in ${root}`)
}

/** Bundles come first: what is shipped is measured. */
function helperScript(root, name) {
  for (const folder of ['packages/core/bundle', 'packages/core/dist']) {
    const path = join(root, folder)
    const found = existsSync(path)
      ? readdirSync(path, { recursive: true, encoding: 'utf8' }).find(
          (it) => it === name || it.endsWith(`/${name}`),
        )
      : undefined
    if (found !== undefined) return join(path, found)
  }
  return fail(`no ${name} in ${root}: build it first`)
}

/** Field 22 of /proc/PID/stat; the name before it may have spaces. */
function startTime(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19])
}

const rounded = (ms) => Number(ms.toFixed(2))

function fail(message) {
  throw new Error(message)
}
