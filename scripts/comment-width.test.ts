import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))
const widest = 110

test(`comments have lines of at most ${widest} columns`, () => {
  const files = ['packages', 'scripts', 'test', 'examples', 'docs/.vitepress'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => /\.(ts|mjs|js|c|py)$/.test(name) && !/(^|\/)(dist|node_modules|cache)\//.test(name))
      .map((name) => join(folder, name)),
  )
  expect(files.length).toBeGreaterThan(500)
  const wide = files.flatMap((file) =>
    readFileSync(join(root, file), 'utf8')
      .split('\n')
      // A line of a comment begins with its mark and a space; one of Markdown in a template has none.
      .flatMap((line, index) =>
        line.length > widest && /^\s*(\/\/|\/\*|\* |# )/.test(line) ? [`${file}:${index + 1}`] : [],
      ),
  )
  expect(wide).toEqual([])
})
