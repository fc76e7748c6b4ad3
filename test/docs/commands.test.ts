import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { pages, root } from './markdown.js'

const bin = join(root, 'node_modules/.bin/varve')
const scripts = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).scripts as Record<string, string>

const helps = new Map<string, string | undefined>()
/** What `varve help` says of a verb; undefined if there is none. */
function help(...verb: readonly string[]): string | undefined {
  const key = verb.join(' ')
  if (!helps.has(key)) {
    let text: string | undefined
    try {
      text = execFileSync(bin, ['help', ...verb], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
    } catch {}
    helps.set(key, text)
  }
  return helps.get(key)
}

/** The commands of a line of a shell block: without its comment, without what a program after `--` gets. */
function commandsOf(line: string): string[][] {
  return line
    .replace(/^\$ /, '')
    .replace(/(^|\s)#.*$/, '')
    .split(/&&|;|\||\$\(/)
    .map((command) => command.trim().split(/\s+/))
    .map((words) => (words[0] === 'npx' ? words.slice(1) : words))
}

function wrongIn(words: readonly string[]): string | undefined {
  const [program = '', ...rest] = words
  const lost = words.find(
    (it) => /^(packages|scripts|test|examples)\/[\w./-]+$/.test(it) && !existsSync(join(root, it)),
  )
  if (lost !== undefined) return `there is no ${lost}`
  if (program === 'varve') return wrongVerb(rest)
  if (program === 'npm') {
    const name = rest[0] === 'run' ? rest.slice(1).find((it) => !it.startsWith('-')) : undefined
    return name === undefined || name in scripts ? undefined : `package.json has no script ${name}`
  }
  return undefined
}

function wrongVerb(words: readonly string[]): string | undefined {
  const first = words[0] ?? '--help'
  if (/^(--|help$|VERB|\[?-)/.test(first)) return undefined
  const group = help(first)
  if (group === undefined) return `varve has no verb ${first}`
  const isGroup = group.startsWith(`usage: varve ${first} VERB`)
  if (isGroup && words.length === 1) return undefined
  const verb = isGroup ? [first, words[1] ?? ''] : [first]
  const text = help(...verb)
  if (text === undefined) return `varve has no verb ${verb.join(' ')}`
  const own = words.includes('--') ? words.slice(0, words.indexOf('--')) : words
  for (const word of own.slice(verb.length)) {
    const option = /^\[?(--[a-z][a-z-]*)/.exec(word)?.[1]
    if (option === undefined || option === '--json' || option === '--help') continue
    if (!new RegExp(`${option}(?![a-z-])`).test(text))
      return `varve ${verb.join(' ')} has no option ${option}`
  }
  return undefined
}

test('commands and files in shell blocks and in code spans exist, with the options that they use', () => {
  const wrong: string[] = []
  for (const { path, prose, blocks } of pages()) {
    for (const { language, line, text } of blocks) {
      if (!['', 'sh', 'console'].includes(language)) continue
      for (const [index, it] of text.split('\n').entries())
        for (const words of commandsOf(it)) {
          const why = wrongIn(words)
          if (why !== undefined) wrong.push(`${path}:${line + index + 1}: ${why}`)
        }
    }
    for (const [index, it] of prose.entries())
      for (const [, span = ''] of it.matchAll(/`([^`]*)`/g))
        for (const words of commandsOf(span)) {
          const why = wrongIn(words)
          if (why !== undefined) wrong.push(`${path}:${index + 1}: ${why}`)
        }
  }
  expect(wrong).toEqual([])
}, 60_000)
