import { execFileSync } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { isAlive, processIdentity } from './proc.js'
import { type Child, spawnProcess } from './spawn.js'

let directory: string
let output: number
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-spawn-'))
  output = openSync(join(directory, 'output'), 'w')
})
afterEach(() => {
  closeSync(output)
  rmSync(directory, { recursive: true })
})

function start(file: string, ...args: string[]): Child {
  const input = openSync('/dev/null', 'r')
  try {
    return spawnProcess({ file, args, directory, stdio: [input, output, output], umask: 0o027 })
  } finally {
    closeSync(input)
  }
}
const told = () => readFileSync(join(directory, 'output'), 'utf8')

describe('a process', () => {
  test('has the directory, arguments, environment, umask and descriptors that it was given, and a session', async () => {
    process.env.VARVE_SPAWN_TEST = 'of the parent'
    const before = process.umask()
    const list = 'ls /proc/$$/fd; true'
    const script = `pwd; umask; echo "$VARVE_SPAWN_TEST|$1|$#"; cut -d" " -f6 /proc/$$/stat; ${list}; exit 7`
    const child = start('sh', '-c', script, 'sh', 'two words', '')
    expect(await child.exited).toEqual({ code: 7, signal: null })
    expect(process.umask()).toBe(before)
    // The process that started this one may have left it descriptors that are not close-on-exec.
    const descriptors = execFileSync('sh', ['-c', list], { encoding: 'utf8' })
    expect(told()).toBe(
      `${directory}\n0027\nof the parent|two words|2\n${child.identity.pid}\n${descriptors}`,
    )
  })

  test('ignores and blocks no signal, though Node ignores SIGPIPE', async () => {
    const child = start('grep', '-E', '^Sig(Blk|Ign)', '/proc/self/status')
    expect(await child.exited).toEqual({ code: 0, signal: null })
    expect(told().match(/\t[0-9a-f]+/g)).toEqual(['\t0000000000000000', '\t0000000000000000'])
  })

  test('tells how it was killed; until then it is alive, and afterwards no zombie is left', async () => {
    const child = start('sleep', '60')
    expect(child.exit).toBeUndefined()
    expect(isAlive(child.identity)).toBe(true)
    process.kill(child.identity.pid, 'SIGTERM')
    expect(await child.exited).toEqual({ code: null, signal: 'SIGTERM' })
    expect(child.exit).toEqual({ code: null, signal: 'SIGTERM' })
    expect(processIdentity(child.identity.pid)).toBeUndefined()
    expect(() => process.kill(child.identity.pid, 0)).toThrow('ESRCH')
  })

  test('a hundred of them end, each with its own status', async () => {
    const children = Array.from({ length: 100 }, (_, index) => start('sh', '-c', `exit ${index}`))
    const exits = await Promise.all(children.map(({ exited }) => exited))
    expect(exits).toEqual(children.map((_, index) => ({ code: index, signal: null })))
    expect(process.listeners('SIGCHLD')).toEqual([])
  })
})

test.each(['./nothing-here', 'varve-no-such-program'])('%s cannot be started', (file) => {
  expect(() => start(file)).toThrow(
    expect.objectContaining({ code: 'LAUNCH_FAILED', message: expect.stringContaining('ENOENT') }),
  )
})

test('an argument with a zero byte is refused', () => {
  expect(() => start('echo', 'a\0b')).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
})
