import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('../..', import.meta.url))

export interface CodeBlock {
  readonly language: string
  /** The line of the file that the block begins on, for messages. */
  readonly line: number
  readonly text: string
}

export interface Page {
  /** Relative to the repository. */
  readonly path: string
  /** The text outside code blocks, line by line; lines of code blocks are empty. */
  readonly prose: readonly string[]
  readonly blocks: readonly CodeBlock[]
}

/**
 * Every page that people read: README and its like, those of the packages, and docs/
 * without the generated API reference.
 */
export function pages(): readonly Page[] {
  const below = (folder: string) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.md') && !/(^|\/)(node_modules|api|dist)\//.test(name))
      .map((name) => join(folder, name))
  const top = readdirSync(root).filter((name) => name.endsWith('.md'))
  const packages = readdirSync(join(root, 'packages'))
    .map((name) => `packages/${name}/README.md`)
    .filter((path) => existsSync(join(root, path)))
  return [...top, ...packages, ...below('docs')].sort().map(read)
}

function read(path: string): Page {
  const prose: string[] = []
  const blocks: CodeBlock[] = []
  let open: { fence: string; language: string; line: number; lines: string[] } | undefined
  for (const [index, line] of readFileSync(join(root, path), 'utf8').split('\n').entries()) {
    const fence = /^\s*(`{3,})\s*(\S*)/.exec(line)
    if (open === undefined && fence !== null)
      open = { fence: fence[1] as string, language: fence[2] as string, line: index + 1, lines: [] }
    else if (open !== undefined && line.trim() === open.fence) {
      blocks.push({ language: open.language, line: open.line, text: open.lines.join('\n') })
      open = undefined
    } else if (open !== undefined) open.lines.push(line)
    prose.push(open === undefined && fence === null ? line : '')
  }
  if (open !== undefined) throw new Error(`${path}:${open.line}: the code block has no end`)
  return { path, prose, blocks }
}
