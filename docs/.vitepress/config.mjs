// The documentation site. `npm run docs` builds it: first the API reference into docs/api, then these pages.
import { cpSync, readdirSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'vitepress'
import { pagesIn } from './pages.mjs'
import { slug } from './slug.mjs'

const docs = fileURLToPath(new URL('..', import.meta.url))

/** The order in which a reader should meet them; other pages of the folder follow by name. */
const guides = [
  'layers',
  'live',
  'guests',
  'working-sets',
  'remote',
  'engines',
  'doctor',
  'experiments',
  'heat-maps',
  'micro-guest',
  'nested-lab',
  'testing',
]
const group = (text, folder, first = []) => ({
  text,
  collapsed: folder !== 'guides',
  items: pagesIn(docs, folder, first),
})

export default defineConfig({
  title: 'Varve',
  description: 'Layered snapshots and working sets for Firecracker microVMs',
  srcExclude: ['node_modules/**'],
  lastUpdated: false,
  ignoreDeadLinks: [/\.html$/, /\/report$/],
  themeConfig: {
    search: { provider: 'local' },
    outline: [2, 3],
    nav: [
      { text: 'Guides', link: '/guides/layers' },
      { text: 'API', link: '/api/' },
      { text: 'Results', link: '/results/restore' },
      { text: 'Errors', link: '/errors' },
    ],
    sidebar: {
      '/api/': [
        { text: 'Varve', link: '/' },
        { text: 'API reference', link: '/api/' },
      ],
      '/': [
        {
          text: 'First',
          items: [
            { text: 'What Varve is', link: '/' },
            { text: 'Architecture', link: '/architecture' },
            { text: 'Glossary', link: '/glossary' },
            { text: 'How Firecracker snapshots work', link: '/how-firecracker-snapshots-work' },
          ],
        },
        group('Guides', 'guides', guides),
        group('Formats', 'formats'),
        group('Results', 'results'),
        group('Decisions', 'decisions'),
        group('Notes', 'notes'),
        {
          text: 'Reference',
          items: [
            { text: 'Errors and exit statuses', link: '/errors' },
            { text: 'API', link: '/api/' },
          ],
        },
      ],
    },
  },
  markdown: { config: linksOutsideTheSite, anchor: { slugify: slug } },
  // The search index is one file.
  vite: { build: { chunkSizeWarningLimit: 4000 } },
  /** Raw rows and reports are linked from result pages, and are no pages. */
  buildEnd: ({ outDir }) => {
    for (const name of readdirSync(join(docs, 'results'), { recursive: true }))
      if (/\.(jsonl|html)$/.test(name)) cpSync(join(docs, 'results', name), join(outDir, 'results', name))
  },
})

/**
 * A link to a file of the repository that is not part of the site becomes plain text; one to raw
 * data leaves the page's router.
 */
function linksOutsideTheSite(md) {
  const render = md.renderer.rules.link_open
  md.renderer.rules.link_open = (tokens, index, options, env, self) => {
    const token = tokens[index]
    const [href] = (token.attrGet('href') ?? '').split('#')
    if (/^[a-z]+:|^\/|^$/.test(href)) return render(tokens, index, options, env, self)
    const target = join(dirname(env.relativePath), href)
    if (relative('.', target).startsWith('..')) {
      const close = tokens.slice(index).find(({ type }) => type === 'link_close')
      for (const it of [token, close]) it.tag = 'span'
      token.attrs = []
      return self.renderToken(tokens, index, options)
    }
    if (!/\.(jsonl|html)$/.test(href)) return render(tokens, index, options, env, self)
    token.attrSet('target', '_blank')
    return self.renderToken(tokens, index, options)
  }
}
