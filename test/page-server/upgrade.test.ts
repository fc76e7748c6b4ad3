import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ProcessIdentity, ServingProcesses } from 'varve'
import { isAlive, pageServerRoot, startPageServer } from 'varve/testing'
import { emptyPageSet, pageRange } from 'varve/working-sets'
import { expect, test } from 'vitest'
import {
  allPages,
  eventually,
  imagePages,
  openPageServerWorld,
  optionsOf,
  ownRuntime,
  wordOfPage,
  words,
} from '../support/page-server-world.js'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** The built package and what it depends on, as an installation has them. */
function install(): string {
  const directory = mkdtempSync(join(tmpdir(), 'varve-installed-'))
  const packages = join(directory, 'node_modules')
  const core = join(root, 'packages/core')
  for (const name of ['package.json', 'dist'])
    cpSync(join(core, name), join(packages, 'varve', name), { recursive: true })
  for (const name of ['koffi', '@koromix'])
    cpSync(join(root, 'node_modules', name), join(packages, name), { recursive: true })
  return directory
}

/** As an upgrade leaves them: other files at the same places. */
function replaceScripts(directory: string): void {
  for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' }))
    if (/\.(js|cjs|node)$/.test(name)) {
      rmSync(join(directory, name))
      writeFileSync(join(directory, name), 'process.exit(7)\n')
    }
}

function startServer(installed: string, runtime: string): ServingProcesses {
  const script = `import('varve/testing').then((it) => it.ensurePageServer(process.argv[1])).then((it) => {
    console.log(JSON.stringify(it))
    process.exit()
  })`
  const env = { ...process.env, VARVE_PAGE_SERVER_LINGER_MS: '300' }
  const { stdout, stderr } = spawnSync(process.execPath, ['-e', script, runtime], { cwd: installed, env })
  expect(stderr.toString()).toBe('')
  return JSON.parse(stdout.toString()) as ServingProcesses
}

const kill = ({ pid }: ProcessIdentity) => process.kill(pid, 'SIGKILL')

test.each([
  ['removed', (installed: string) => rmSync(installed, { recursive: true })],
  ['replaced', replaceScripts],
])(
  'under a server whose package was %s, VMs are served on and on, and new ones are taken',
  async (_, change) => {
    const installed = install()
    try {
      await using world = await openPageServerWorld({}, { runtime: ownRuntime })
      await using later = await openPageServerWorld({}, { runtime: world.runtime })
      let serving = startServer(installed, world.runtime)
      const pageServer = await startPageServer(optionsOf(world))
      change(installed)
      await world.attach()
      // Answered: what a successor must know is noted.
      expect(await words(world, [1])).toEqual([wordOfPage(1)])
      // The guard, then the guard's guard, then that one's: each must have been started, and have started its
      // threads, since.
      for (let deaths = 0; deaths < 3; deaths++) {
        kill(serving.server)
        expect(
          await words(
            world,
            allPages.filter((page) => page % 3 === deaths),
          ),
        ).toEqual(allPages.filter((page) => page % 3 === deaths).map(wordOfPage))
        await eventually(async () => {
          const now = await pageServer.processes()
          const guarded = now.guard !== null && isAlive(now.guard) && now.server.pid !== serving.server.pid
          if (guarded) serving = now
          return guarded
        })
      }
      // A VM with a working set needs one thread more.
      const pages = pageRange(0, 1000)
      const set = {
        image: '1'.repeat(32),
        pages: imagePages,
        recordedAtMs: 0,
        windowMs: 1,
        groups: [],
        notes: {},
      }
      const workingSet = { ...set, readOnly: pages, written: emptyPageSet }
      const laterServer = await startPageServer({ ...optionsOf(later), workingSet })
      await later.attach()
      expect(await laterServer.prefetched({ wait: true })).toMatchObject({ state: 'finished' })
      expect(await words(later, allPages)).toEqual(allPages.map(wordOfPage))
      // Nothing of the program stays when no process runs from it.
      const programs = join(pageServerRoot(world.runtime).own, 'program')
      expect(readdirSync(programs)).toHaveLength(2)
      for (const { vmm } of [world, later]) vmm.child.kill('SIGKILL')
      await eventually(() => !isAlive(serving.server) && readdirSync(programs).join() === 'lock')
      expect(readFileSync(join(programs, 'lock'))).toHaveLength(0)
    } finally {
      rmSync(installed, { recursive: true, force: true })
    }
  },
)
