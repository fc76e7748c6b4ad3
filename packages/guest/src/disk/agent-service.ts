import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { VarveError } from 'varve'
import { agentProgram, agentProgramPath } from '../agent/agent-program.js'
import type { ContentSpool } from '../image/content-spool.js'
import type { ImageTree } from '../image/image-tree.js'

/** Where the agent is on a root disk on which the image's own init starts it. */
const programPath = 'usr/sbin/varve-agent'

interface InitSystem {
  /** The image has this one if one of these files is there. */
  readonly signs: readonly string[]
  /** What it starts the agent by: the file in this package, and its place and mode on the disk. */
  readonly source: string
  readonly path: string
  readonly mode: number
  /** The link that makes it start at boot. */
  readonly link: string
}

const initSystems: readonly InitSystem[] = [
  {
    signs: ['usr/lib/systemd/systemd', 'lib/systemd/systemd'],
    source: 'varve-agent.service',
    path: 'etc/systemd/system/varve-agent.service',
    mode: 0o644,
    link: 'etc/systemd/system/sysinit.target.wants/varve-agent.service',
  },
  {
    signs: ['sbin/openrc-run', 'usr/sbin/openrc-run', 'usr/bin/openrc-run'],
    source: 'varve-agent.openrc',
    path: 'etc/init.d/varve-agent',
    mode: 0o755,
    // Debian's scripts start the runlevels sysinit and default, and boot never.
    link: 'etc/runlevels/default/varve-agent',
  },
]

/** The agent as a service: what goes onto the disk of an image that keeps its own init. */
export interface AgentService {
  readonly program: Buffer
  readonly scripts: readonly { readonly system: InitSystem; readonly content: Buffer }[]
  /** Of all this: a part of the key of builds. */
  readonly digest: string
}

export async function agentService(): Promise<AgentService> {
  const program = await agentProgram()
  const scripts = await Promise.all(
    initSystems.map(async (system) => {
      return { system, content: await readFile(join(dirname(agentProgramPath), system.source)) }
    }),
  )
  const hash = createHash('sha256').update(program).update(JSON.stringify(initSystems))
  for (const { content } of scripts) hash.update(content)
  return { program, scripts, digest: hash.digest('hex') }
}

/**
 * Adds the agent, and what starts it, for each init system that the image has. INVALID_ARGUMENT if the image
 * has no init, or none of these.
 */
export function addAgentService(
  tree: ImageTree,
  spool: ContentSpool,
  { program, scripts }: AgentService,
): void {
  const found = scripts.filter(({ system }) => system.signs.some((it) => tree.find(it) !== undefined))
  if (tree.find('sbin/init') === undefined || found.length === 0)
    throw new VarveError('INVALID_ARGUMENT', 'the image has no /sbin/init with systemd or OpenRC', {
      remedy: 'install one in the image, or build the guest without --init image',
    })
  const attributes = { uid: 0, gid: 0, mtime: 0, xattrs: new Map() }
  const put = (path: string, content: Buffer, mode: number) => {
    const { name, dataBytes } = spool.addBytes(content)
    tree.put(path, {
      ...attributes,
      ...{ kind: 'file', content: name, sizeBytes: content.length, dataBytes, mode },
    })
  }
  put(programPath, program, 0o755)
  for (const { system, content } of found) {
    put(system.path, content, system.mode)
    tree.put(system.link, { ...attributes, kind: 'symlink', target: `/${system.path}`, mode: 0o777 })
  }
}
