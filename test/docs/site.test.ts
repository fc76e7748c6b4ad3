import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { root } from './markdown.js'

// `npm run docs` as a reader meets it: the pages that a browser gets, with their links.
const site = join(root, 'docs/.vitepress/dist')

beforeAll(() => {
  execFileSync(process.execPath, [join(root, 'scripts/docs.mjs')], { stdio: ['ignore', 'ignore', 'pipe'] })
}, 600_000)

const html = () =>
  readdirSync(site, { recursive: true, encoding: 'utf8' }).filter(
    // Reports of experiments are whole in one file, with links of their own.
    (name) =>
      (name.endsWith('.html') && !name.startsWith('results/')) || /^results\/[\w-]+\.html$/.test(name),
  )
const unescaped = (text: string) =>
  text.replace(
    /&(amp|lt|gt|quot|#39);/g,
    (_, name) => ({ amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" })[name as string] ?? '',
  )
const attributes = (text: string, name: string) =>
  [...text.matchAll(new RegExp(`<[a-z][^<>]*\\s${name}="([^"]*)"`, 'g'))].map((match) =>
    unescaped(match[1] as string),
  )

/** The file that a web server answers a path with. */
const fileOf = (path: string) =>
  [path, `${path}.html`, join(path, 'index.html')].find(
    (it) => /\.\w+$/.test(it) && existsSync(join(site, it)),
  )

test('each link of the built site leads to a page, and each anchor to a place in it', () => {
  const pages = new Map(html().map((name) => [name, readFileSync(join(site, name), 'utf8')]))
  expect(pages.size).toBeGreaterThan(40)
  const ids = new Map([...pages].map(([name, text]) => [name, new Set(attributes(text, 'id'))]))
  const broken = new Set<string>()
  let checked = 0
  for (const [name, text] of pages)
    for (const target of [...attributes(text, 'href'), ...attributes(text, 'src')]) {
      if (/^([a-z]+:|\/\/)/.test(target) || name === '404.html') continue
      const [path = '', anchor] = target.split('#').map(decodeURIComponent)
      const to =
        path === ''
          ? name
          : fileOf(path.startsWith('/') ? path.slice(1) : normalize(join(dirname(name), path)))
      checked++
      if (to === undefined) broken.add(`${name}: ${target} does not exist`)
      else if (anchor && ids.get(to)?.has(anchor) === false)
        broken.add(`${name}: ${target} has no such place`)
    }
  expect(checked).toBeGreaterThan(1000)
  expect([...broken]).toEqual([])
})

test('the API reference has a page for each door but `testing`', () => {
  const index = readFileSync(join(site, 'api/index.html'), 'utf8')
  for (const name of ['core', 'lab']) {
    const { name: packageName, exports } = JSON.parse(
      readFileSync(join(root, 'packages', name, 'package.json'), 'utf8'),
    )
    for (const door of Object.keys(exports)) {
      const path = `${packageName}${door.slice(1)}`
      expect(index.includes(`>${path}<`), path).toBe(door !== './testing')
    }
  }
})

test('the search index knows the guides and the API', () => {
  const chunks = readdirSync(join(site, 'assets'), { recursive: true, encoding: 'utf8' }).filter((it) =>
    it.includes('localSearchIndex'),
  )
  expect(chunks.length).toBeGreaterThan(0)
  const text = chunks.map((it) => readFileSync(join(site, 'assets', it), 'utf8')).join('')
  for (const page of ['/guides/layers', '/api/', '/results/restore']) expect(text, page).toContain(page)
})
