import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'

// What `npm run release` refuses before it builds anything. npx.test.ts publishes and installs the packages.
const root = fileURLToPath(new URL('../../', import.meta.url))
const folders = ['packages/core', 'packages/guest', 'packages/remote', 'packages/lab']
const repository = (directory: string) => ({
  type: 'git',
  url: 'git+https://example.org/some/varve.git',
  directory,
})

/** A repository that has only what the script reads before it builds, and so always stops. */
function release(
  {
    repositoryOf,
    pending,
    uncommitted,
  }: { repositoryOf?: (folder: string) => object; pending?: string; uncommitted?: string } = {},
  env: Readonly<Record<string, string>> = {},
): { status: number | null; stderr: string } {
  const copy = mkdtempSync(join(tmpdir(), 'varve-release-'))
  onTestFinished(() => rmSync(copy, { recursive: true }))
  cpSync(join(root, 'scripts'), join(copy, 'scripts'), { recursive: true })
  cpSync(join(root, '.changeset'), join(copy, '.changeset'), { recursive: true })
  for (const folder of folders) {
    const manifest = JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'))
    mkdirSync(join(copy, folder), { recursive: true })
    writeFileSync(
      join(copy, folder, 'package.json'),
      JSON.stringify({ ...manifest, repository: repositoryOf?.(folder) ?? manifest.repository }),
    )
  }
  if (pending !== undefined) writeFileSync(join(copy, '.changeset', pending), '')
  const git = (...args: string[]) =>
    expect(
      spawnSync('git', ['-C', copy, '-c', 'user.name=any', '-c', 'user.email=any', ...args]).status,
    ).toBe(0)
  git('init', '--quiet')
  git('add', '--all')
  git('commit', '--quiet', '--message', 'All')
  if (uncommitted !== undefined) writeFileSync(join(copy, uncommitted), '')
  const { GITHUB_REPOSITORY: _, ...own } = process.env
  return spawnSync(process.execPath, ['scripts/release.mjs'], {
    cwd: copy,
    encoding: 'utf8',
    env: { ...own, ...env },
  })
}

test.each([
  [
    'a file that is not committed',
    { repositoryOf: repository, uncommitted: 'new.txt' },
    {},
    'commit or remove what git status lists',
  ],
  [
    'a change that is in no version',
    { repositoryOf: repository, pending: 'brave-owl.md' },
    {},
    'run npm run release:version first: brave-owl.md',
  ],
  [
    'a package without a repository',
    { repositoryOf: () => ({}) },
    {},
    'packages/core/package.json has no "repository" with a "url"',
  ],
  [
    'a package of another folder',
    { repositoryOf: () => repository('packages/core') },
    {},
    'packages/guest/package.json has a "repository" whose "directory" is not "packages/guest"',
  ],
  [
    'a workflow of another repository',
    { repositoryOf: repository },
    { GITHUB_REPOSITORY: 'other/varve' },
    'but this workflow runs in other/varve',
  ],
])('a release refuses %s', (_, state, env, message) => {
  const { status, stderr } = release(state, env)
  expect(stderr).toContain(message)
  expect(status).toBe(1)
})
