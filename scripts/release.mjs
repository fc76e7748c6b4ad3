// `npm run release`: builds from nothing, tests the packed packages, and publishes those whose version npm
// does not have. `npm run release -- --dry-run` does all but the last. docs/guides/releasing.md.
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { bin, build, root, run } from './setup.mjs'

const dryRun = process.argv.includes('--dry-run')
const packages = ['packages/core', 'packages/guest', 'packages/remote', 'packages/lab']

function refuse(message) {
  console.error(`varve: ${message}`)
  process.exit(1)
}

const changes = spawnSync('git', ['status', '--porcelain'], { cwd: root, encoding: 'utf8' })
if (changes.status !== 0 || changes.stdout !== '')
  refuse('commit or remove what git status lists: a release is made of a commit')
const pending = readdirSync(join(root, '.changeset')).filter(
  (name) => name.endsWith('.md') && name !== 'README.md',
)
if (pending.length > 0)
  refuse(`run npm run release:version first: ${pending.join(', ')} are not in a version`)
for (const folder of packages) {
  const wrong = wrongRepository(folder)
  if (wrong === undefined) continue
  const message = `${folder}/package.json ${wrong} (docs/guides/releasing.md)`
  if (!dryRun) refuse(message)
  console.error(`varve: before you publish: ${message}`)
}

/** npm links to `repository`, and compares it with the workflow that signs where a package was built. */
function wrongRepository(folder) {
  const { repository } = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'))
  if (typeof repository?.url !== 'string') return 'has no "repository" with a "url"'
  if (repository.directory !== folder) return `has a "repository" whose "directory" is not "${folder}"`
  const built = process.env.GITHUB_REPOSITORY
  if (built !== undefined && !repository.url.replace(/\.git$/, '').endsWith(`/${built}`))
    return `has the "repository" ${repository.url}, but this workflow runs in ${built}`
  return undefined
}

// Files of sources that were moved or removed since the last build would be packed too.
for (const folder of packages) rmSync(join(root, folder, 'dist'), { recursive: true, force: true })
build()
run(bin('vitest'), ['run', '--project', 'real', 'test/packages'])
if (dryRun) console.error('varve: would publish now')
else {
  const provenance = process.env.ACTIONS_ID_TOKEN_REQUEST_URL !== undefined
  run(bin('changeset'), ['publish'], {
    ...process.env,
    ...(provenance ? { NPM_CONFIG_PROVENANCE: 'true' } : {}),
  })
}
