// `npm run docs`: the documentation site, into docs/.vitepress/dist. What builds it is a package of its own
// (docs/package.json), installed here, so that a clone that only runs Varve need not fetch it.
import { readFileSync, rmSync, statSync } from 'node:fs'
import { join, relative } from 'node:path'
import { dependencies, root, run } from './setup.mjs'

const docs = join(root, 'docs')
const bin = (name) => join(docs, 'node_modules/.bin', name)

/** The doors of a published package, as their sources; `testing` promises nothing to users. */
function sourcesOf(name) {
  const directory = join(root, 'packages', name)
  const { exports } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'))
  return Object.entries(exports)
    .filter(([door, { types }]) => door !== './testing' && types !== undefined)
    .map(([, { types }]) => join(directory, types.replace('/dist/', '/src/').replace(/\.d\.ts$/, '.ts')))
}

/** npm writes its own copy of the lock file last. */
function isInstalled() {
  const written = (name) => statSync(join(docs, name), { throwIfNoEntry: false })?.mtimeMs ?? 0
  return written('node_modules/.package-lock.json') > written('package-lock.json')
}

dependencies()
run(join(root, 'node_modules/.bin/tsc'), ['-b'])
if (!isInstalled()) run('npm', ['ci', '--prefix', docs])
rmSync(join(docs, 'api'), { recursive: true, force: true })
const entries = ['core', 'guest', 'remote', 'lab'].flatMap(sourcesOf)
run(bin('typedoc'), [
  ...['--plugin', 'typedoc-plugin-markdown', '--plugin', join(docs, '.vitepress/doors.mjs')],
  ...['--tsconfig', join(docs, 'tsconfig.json'), '--name', 'API reference'],
  ...['--out', join(docs, 'api'), '--entryFileName', 'index.md', '--readme', 'none', '--hideBreadcrumbs'],
  ...['--disableSources', '--excludeInternal', '--sanitizeComments', '--useHTMLEncodedBrackets'],
  // tsc has just checked the same sources.
  '--skipErrorChecking',
  ...['--logLevel', 'Warn', '--validation.notExported', 'false'],
  ...entries,
])
run(bin('vitepress'), ['build', docs])
console.error(
  `varve: open ${relative(process.cwd(), join(docs, '.vitepress/dist/index.html'))} through a web server: npx vitepress preview docs`,
)
