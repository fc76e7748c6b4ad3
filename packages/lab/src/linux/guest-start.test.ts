import { execFileSync } from 'node:child_process'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { guestStart } from './guest-start.js'

const initOf = (agentCommand?: readonly string[]) =>
  guestStart(agentCommand).files.find(({ path }) => path === 'varve/init')?.content ?? ''

describe('guestStart', () => {
  test('a command reaches the shell word for word', () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' }), { minLength: 1, maxLength: 4 }), (given) => {
        const words = given.map((it) => it.replaceAll('\0', ''))
        const init = initOf(['printf', '%s\\0', ...words])
        const line = init.slice(init.indexOf("'printf'"), init.lastIndexOf(' </dev/null'))
        expect(execFileSync('/bin/sh', ['-c', line], { encoding: 'utf8' })).toBe(
          words.map((it) => `${it}\0`).join(''),
        )
      }),
      { numRuns: 25 },
    )
  })

  test.each([[[]], [['agent', 'a\0b']]])('refuses the command %j', (command) => {
    expect(() => guestStart(command)).toThrow('agentCommand is')
  })

  test('what is started by itself is brought along', () => {
    const { files, script } = guestStart()
    const names = files.map(({ path }) => path)
    for (const name of ['bounds.py', 'agent.py', 'functions.py', 'runner.py', 'runner.mjs'])
      expect(names).toContain(`varve/${name}`)
    expect(initOf()).toContain("'/run/varve/agent.py'")
    // A shell says by itself whether it could read them.
    for (const text of [initOf(), script]) execFileSync('/bin/sh', ['-n'], { input: text })
  })
})
