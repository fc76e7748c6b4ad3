import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * The pages of a folder for the sidebar, each by its title: those named in `first`, then the others by name.
 */
export function pagesIn(docs, folder, first = []) {
  const names = readdirSync(join(docs, folder), { recursive: true })
    .filter((name) => name.endsWith('.md'))
    .map((name) => name.replace(/\.md$/, ''))
    .sort()
  const rest = names.filter((name) => !first.includes(name))
  return [...first, ...rest].map((name) => ({
    text: titleOf(join(docs, folder, `${name}.md`)),
    link: `/${folder}/${name}`,
  }))
}

function titleOf(path) {
  const [, title] = /^# (.+)$/m.exec(readFileSync(path, 'utf8')) ?? []
  if (title === undefined) throw new Error(`${path} has no title`)
  return title.replaceAll('`', '')
}
