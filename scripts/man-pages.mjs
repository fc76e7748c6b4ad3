// Writes packages/core/man: a page for each verb, from the texts of `varve help`. Part of `npm run build`.
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { sourcesOfDoors } from './bundle.mjs'

const root = fileURLToPath(new URL('..', import.meta.url))
const core = join(root, 'packages/core')

const outfile = join(root, 'node_modules/.cache/varve/man-pages.mjs')
await build({
  entryPoints: [join(root, 'packages/cli/src/man-page.ts')],
  outfile,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  external: ['koffi', '@varve/guest', '@varve/lab', '@varve/remote'],
  alias: sourcesOfDoors(),
})
const { manPages } = await import(pathToFileURL(outfile).href)
const { version } = JSON.parse(readFileSync(join(core, 'package.json'), 'utf8'))
const directory = join(core, 'man')
rmSync(directory, { recursive: true, force: true })
mkdirSync(directory)
for (const [name, page] of await manPages(version)) writeFileSync(join(directory, name), page)
