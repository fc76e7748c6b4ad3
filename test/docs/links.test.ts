import { existsSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { describe, expect, test } from 'vitest'
import { slug } from '../../docs/.vitepress/slug.mjs'
import { type Page, pages, root } from './markdown.js'

const all = pages()
const anchors = new Map(all.map((page) => [page.path, anchorsOf(page)]))

function anchorsOf({ prose }: Page): ReadonlySet<string> {
  const found = new Set<string>()
  for (const line of prose) {
    const heading = /^#{1,6} (.+)$/.exec(line)?.[1]
    if (heading === undefined) continue
    const plain = heading.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').replaceAll('`', '')
    const first = slug(plain)
    for (let n = 0; ; n++) {
      const name = n === 0 ? first : `${first}-${n}`
      if (found.has(name)) continue
      found.add(name)
      break
    }
  }
  return found
}

/** What a page links to, with its line; code spans hold no links. */
function linksOf({ prose }: Page): { line: number; target: string }[] {
  // A link's text may begin on the line before.
  return prose.flatMap((text, index) =>
    [...text.replace(/`[^`]*`/g, '').matchAll(/\]\(([^)\s]+)\)/g)].map((match) => ({
      line: index + 1,
      target: match[1] as string,
    })),
  )
}

describe('links of all pages', () => {
  test.each(all.map((page) => [page.path, page] as const))('%s', (path, page) => {
    const broken: string[] = []
    for (const { line, target } of linksOf(page)) {
      if (/^[a-z]+:/.test(target)) continue
      const [file, anchor] = target.split('#') as [string, string | undefined]
      const to = file === '' ? path : normalize(join(dirname(path), file))
      if (to.startsWith('docs/api/')) continue // made by `npm run docs`
      if (!existsSync(join(root, to))) broken.push(`${path}:${line}: ${target} does not exist`)
      else if (anchor !== undefined && !(anchors.get(to)?.has(anchor) ?? false))
        broken.push(`${path}:${line}: ${target} has no such heading`)
    }
    expect(broken).toEqual([])
  })
})

test('every page of the documentation is reached by a link from README or from another page', () => {
  const linked = new Set(
    all.flatMap((page) =>
      linksOf(page).map(({ target }) => normalize(join(dirname(page.path), target.split('#')[0] ?? ''))),
    ),
  )
  const folders = [...linked].filter((it) => it.endsWith('/'))
  const lonely = all
    .map(({ path }) => path)
    .filter((path) => path.startsWith('docs/') && path !== 'docs/index.md')
    .filter((path) => !linked.has(path) && !folders.some((folder) => path.startsWith(folder)))
  expect(lonely).toEqual([])
})
