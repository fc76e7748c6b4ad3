import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { agentProgram } from '../agent/agent-program.js'
import { ContentSpool } from '../image/content-spool.js'
import { ImageBudget } from '../image/image-limits.js'
import { ImageTree } from '../image/image-tree.js'
import { addAgentService, agentService } from './agent-service.js'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'varve-agent-service-'))
})
afterAll(() => rmSync(folder, { recursive: true }))

const attributes = { mode: 0o755, uid: 0, gid: 0, mtime: 0, xattrs: new Map() }

/** What is at a path when the agent was added to an image with these files. */
async function withService(...paths: string[]): Promise<(path: string) => unknown> {
  const tree = new ImageTree(new ImageBudget())
  const spool = new ContentSpool(folder)
  // As in today's distributions: /sbin is a link.
  tree.put('sbin', { ...attributes, kind: 'symlink', target: 'usr/sbin' })
  tree.directory('usr/sbin')
  for (const path of paths)
    tree.put(path, { ...attributes, kind: 'file', content: '', sizeBytes: 0, dataBytes: 0 })
  addAgentService(tree, spool, await agentService())
  return (path) => {
    const node = tree.find(path)
    if (node?.kind === 'symlink') return node.target
    return node?.kind === 'file'
      ? { mode: node.mode, content: readFileSync(spool.pathOf(node.content)) }
      : node
  }
}

const source = (name: string) => readFileSync(new URL(`../../agent/${name}`, import.meta.url))

test('systemd gets the agent as a unit of sysinit.target', async () => {
  const at = await withService('usr/sbin/init', 'usr/lib/systemd/systemd')
  const unit = '/etc/systemd/system/varve-agent.service'
  expect(at('usr/sbin/varve-agent')).toEqual({ mode: 0o755, content: await agentProgram() })
  expect(at(unit)).toEqual({ mode: 0o644, content: source('varve-agent.service') })
  expect(at('etc/systemd/system/sysinit.target.wants/varve-agent.service')).toBe(unit)
  expect(at('etc/init.d')).toBe(undefined)
})

test('OpenRC gets it as a service of the runlevel default', async () => {
  const at = await withService('usr/sbin/init', 'usr/sbin/openrc-run')
  expect(at('etc/init.d/varve-agent')).toEqual({ mode: 0o755, content: source('varve-agent.openrc') })
  expect(at('etc/runlevels/default/varve-agent')).toBe('/etc/init.d/varve-agent')
  expect(at('etc/systemd')).toBe(undefined)
})

test.each([
  ['no init', ['usr/lib/systemd/systemd']],
  ['an init of another kind', ['usr/sbin/init']],
])('an image with %s is refused', async (_, paths) => {
  await expect(withService(...paths)).rejects.toThrow('no /sbin/init with systemd or OpenRC')
})

test('the guide shows unit and script as they are', () => {
  const guide = readFileSync(new URL('../../../../docs/guides/guests.md', import.meta.url), 'utf8')
  for (const name of ['varve-agent.service', 'varve-agent.openrc'])
    expect(guide).toContain(`\n${source(name)}\`\`\``)
})
