import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { commandLink, commandsIn, environmentOf, varve } from '../support/cli.js'
import { installed } from '../support/installed.js'
import { microWorldOfFile } from '../support/micro-world.js'

const world = microWorldOfFile()
const { right } = commandsIn(() => world)

beforeAll(async () => {
  await right('boot', '--kernel', 'micro.elf', '--memory', '32', '--name', 'web')
  await right('snapshot', 'create', 'web', '--tag', 'monday')
  await right('ws', 'record', 'monday', '--save', 'hello', '--for', '1')
  commandLink(world.path('bin'))
})
afterAll(async () => {
  await varve(world, 'stop', '--all')
})

/** Has bash complete the last of the words, as it does after a tab. */
function inBash(...words: string[]): string[] {
  const script = `
eval "$(varve completion bash)"
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
complete -p varve >&2
_varve
printf '%s\\n' "\${COMPREPLY[@]}"`
  const { status, stdout, stderr } = spawnSync('bash', ['--norc', '-c', script, 'bash', ...words], {
    encoding: 'utf8',
    cwd: world.directory,
    env: { ...environmentOf(world), PATH: `${world.path('bin')}:${process.env.PATH}` },
  })
  expect([status, stderr]).toEqual([0, 'complete -F _varve varve\n'])
  return stdout.split('\n').filter((line) => line !== '')
}

describe('bash completes', () => {
  test('verbs and options', () => {
    expect(inBash('varve', 'rest')).toEqual(['restore'])
    expect(inBash('varve', 'snapshot', 'di')).toEqual(['diff'])
    expect(inBash('varve', 'restore', '--no-d')).toEqual(['--no-dirty-tracking'])
    expect(inBash('varve', 'restore', 'monday', '--engine', 'm')).toEqual(['mapped'])
  })

  test('tags, machines and sets', () => {
    expect(inBash('varve', 'restore', 'm')).toEqual(['monday'])
    expect(inBash('varve', 'stop', '')).toEqual(['web'])
    expect(inBash('varve', 'ws', 'rm', '')).toEqual(['monday:hello'])
  })

  test('files and directories', () => {
    expect(inBash('varve', 'boot', '--kernel', 'mic')).toEqual(['micro.elf'])
    expect(inBash('varve', 'gc', '--store', 'st')).toEqual(['store'])
  })
})

describe.each([
  ['zsh', ['-n']],
  ['fish', ['--no-execute']],
] as const)('%s', (shell, options) => {
  test.skipIf(!installed(shell))('takes the script', async () => {
    const { stdout } = await right('completion', shell)
    writeFileSync(world.path(shell), stdout)
    expect(spawnSync(shell, [...options, world.path(shell)]).status).toBe(0)
  })
})
