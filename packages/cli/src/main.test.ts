import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { main } from './main.js'
import { verbs } from './verbs.js'

async function varve(...argv: string[]) {
  const written = { stdout: '', stderr: '' }
  const to = (name: keyof typeof written) => ({
    write: (text: string) => {
      written[name] += text
    },
  })
  const status = await main(argv, { stdout: to('stdout'), stderr: to('stderr') })
  return { status, ...written }
}

/** Every verb with its words, groups flattened. */
const all = Object.entries(verbs).flatMap(([name, entry]) =>
  'verbs' in entry
    ? Object.entries(entry.verbs).map(([sub, verb]) => ({ name: `${name} ${sub}`, verb }))
    : [{ name, verb: entry }],
)

describe('a place that cannot be read', () => {
  const long = 'x'.repeat(5000)
  test.each([
    ['inspect', long, 'PATH_INVALID'],
    ['inspect', '/proc/self/mem', 'PATH_INVALID'],
    ['inspect', '/proc/self/fd/9999', 'NOT_FOUND'],
    ['inspect', '/proc/1/../self/root/dev/null', 'PATH_INVALID'],
    ['inspect', '/proc/self/task', 'NOT_FOUND'],
    ['lab report', long, 'PATH_INVALID'],
    ['lab report', '/proc/self/mem', 'FORMAT_INVALID'],
  ])('%s %.30s is %s', async (verb, place, code) => {
    const { status, stdout, stderr } = await varve(...verb.split(' '), place, '--json')
    expect([stdout, status]).toEqual(['', { NOT_FOUND: 6, PATH_INVALID: 2, FORMAT_INVALID: 4 }[code]])
    const { error } = JSON.parse(stderr)
    expect(error.code).toBe(code)
    expect(error.message.length).toBeLessThan(500)
  })
})

describe('help', () => {
  test('names every verb and every group', async () => {
    const { status, stdout, stderr } = await varve('help')
    expect([status, stderr]).toEqual([0, ''])
    for (const [name, { summary }] of Object.entries(verbs))
      expect(stdout).toMatch(new RegExp(`^  ${name} +${summary}$`, 'm'))
    expect((await varve('--help')).stdout).toBe(stdout)
    expect((await varve('-h')).stdout).toBe(stdout)
  })

  test('without a verb it is an error, and still shown', async () => {
    expect((await varve()).status).toBe(2)
    expect((await varve()).stdout).toBe((await varve('help')).stdout)
  })

  test('of a group names its verbs', async () => {
    const { status, stdout } = await varve('help', 'snapshot')
    expect(status).toBe(0)
    for (const verb of ['create', 'ls', 'show', 'log', 'tag', 'rm', 'diff'])
      expect(stdout).toMatch(new RegExp(`^  ${verb} +\\S`, 'm'))
    expect(await varve('snapshot', '--help')).toEqual({ status: 0, stdout, stderr: '' })
    expect(await varve('snapshot')).toEqual({ status: 2, stdout, stderr: '' })
  })

  test.each(all.map(({ name }) => name))(
    'of %s has usage, options, an example and the exit status',
    async (name) => {
      const words = name.split(' ')
      const { status, stdout, stderr } = await varve('help', ...words)
      expect([status, stderr]).toEqual([0, ''])
      expect(stdout).toContain(`usage: varve ${name}`)
      expect(stdout).toMatch(new RegExp(`^Examples?:\n  varve ${name}`, 'm'))
      expect(stdout).toContain('Exit status: 0 done')
      expect(await varve(...words, '--help')).toEqual({ status: 0, stdout, stderr: '' })
      for (const line of stdout.split('\n')) expect(line.length, line).toBeLessThanOrEqual(100)
    },
  )

  test.each(all)('of $name tells of each of its options', async ({ name, verb }) => {
    const { command } = await verb.load()
    const { stdout } = await varve('help', ...name.split(' '))
    for (const [option, { short }] of Object.entries(command.options)) {
      expect(stdout).toContain(`--${option}`)
      if (short !== undefined) expect(stdout).toContain(`-${short}, --${option}`)
    }
  })
})

describe('a command line that is wrong', () => {
  test.each([
    [['frobnicate'], 'no verb "frobnicate"', 'varve help'],
    [['help', 'frobnicate'], 'no verb "frobnicate"', 'varve help'],
    [['toString'], 'no verb "toString"', 'varve help'],
    [['snapshot', 'web', 'snaps/base'], 'no verb "snapshot web"', 'varve help snapshot'],
    [['snapshot', 'constructor'], 'no verb "snapshot constructor"', 'varve help snapshot'],
    [['help', 'snapshot', 'web'], 'no verb "snapshot web"', 'varve help snapshot'],
    [['ps', '--frobnicate'], "Unknown option '--frobnicate'", 'varve help ps'],
    [['snapshot', 'ls', '--tree=yes'], 'does not take an argument', 'varve help snapshot ls'],
    [['boot', '--name', '--vcpus', '1'], "Option '--name' argument is ambiguous", 'varve help boot'],
    [['ps', 'web'], 'expected no arguments, got 1 argument', undefined],
    [['snapshot', 'show'], 'expected REF, got 0 arguments', undefined],
    [['snapshot', 'diff', 'a'], 'expected A B, got 1 argument', undefined],
    [['snapshot', 'rm'], 'expected at least one REF', undefined],
    [['snapshot', 'create', 'web', '--tag', 'a', '--no-tag'], '--tag or --no-tag, not both', undefined],
    [['squash', 'x', '--layout', 'round'], '--layout round is neither flat nor packed', undefined],
    [['pack', 'x', '--layout', 'flat', '--working-set', 'x'], 'give no --working-set', undefined],
    [['flatten', 'x'], 'expected REF FILE, got 1 argument', undefined],
    [['export'], 'expected FILE and at least one REF, or --all', undefined],
    [['export', 'x.tar'], 'give at least one REF, or --all', undefined],
    [['export', 'x.tar', 'a', '--all'], 'give at least one REF, or --all', undefined],
    [['du', 'a', 'b'], 'expected at most one REF', undefined],
    [['restore', 'x', '--engine', 'steam'], '--engine steam is none of', undefined],
  ])('%j says what, and exits 2', async (argv, message, remedy) => {
    const { status, stdout, stderr } = await varve(...argv)
    expect([status, stdout]).toEqual([2, ''])
    expect(stderr).toContain(message)
    expect(stderr).toContain('[USAGE]')
    if (remedy !== undefined) expect(stderr).toContain(`  try: ${remedy}\n`)
    const json = await varve(...argv, '--json')
    expect([json.status, json.stdout]).toEqual([2, ''])
    expect(JSON.parse(json.stderr).error).toMatchObject({
      code: 'USAGE',
      message: expect.stringContaining(message),
    })
  })

  test('a tag that cannot be one is refused before anything is touched', async () => {
    const { status, stderr } = await varve(
      'snapshot',
      'create',
      'web',
      '--tag',
      'a/b',
      '--store',
      '/nowhere/at/all',
    )
    expect(status).toBe(2)
    expect(stderr).toContain('"a/b"')
  })
})

test('the version', async () => {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))
  expect(await varve('--version')).toEqual({ status: 0, stdout: `varve ${version}\n`, stderr: '' })
  expect(JSON.parse((await varve('version', '--json')).stdout)).toEqual({ varve: version })
})

test('a store that is not there', async () => {
  const { status, stderr } = await varve('snapshot', 'ls', '--store', '/nowhere/at/all')
  expect(status).toBe(6)
  expect(stderr).toContain('/nowhere/at/all')
})

test('no signal handler stays behind', async () => {
  const before = process.listenerCount('SIGINT')
  await varve('help')
  await varve('frobnicate')
  expect(process.listenerCount('SIGINT')).toBe(before)
})
