import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { removeTree } from './remove-tree.js'

let directory: string
const at = (path: string) => join(directory, path)
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'varve-tree-'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

describe('a directory whose content other users may change', () => {
  test('is removed with links, and without what they lead to; a missing one is fine', () => {
    mkdirSync(at('tree/deep/deeper'), { recursive: true })
    mkdirSync(at('host'))
    for (const path of ['host/data', 'tree/deep/deeper/file', 'tree/file']) writeFileSync(at(path), '')
    symlinkSync(at('host'), at('tree/deep/link'))
    removeTree(at('tree'))
    removeTree(at('tree'))
    expect([readdirSync(directory), readdirSync(at('host'))]).toEqual([['host'], ['data']])
  })

  test('is removed however deep it is, also beyond the longest path', () => {
    const script = `for (let i = 0; i < 1400; i++) { fs.mkdirSync('dd'); process.chdir('dd') }
      fs.writeFileSync('file', '')`
    mkdirSync(at('tree'))
    execFileSync(process.execPath, ['-e', script], { cwd: at('tree') })
    removeTree(at('tree'))
    expect(existsSync(at('tree'))).toBe(false)
  })

  test('is removed while a directory becomes a link again and again, without a file of the host', async () => {
    const names = Array.from({ length: 400 }, (_, index) => `file-${index}`)
    mkdirSync(at('host'))
    for (const name of names) writeFileSync(at(`host/${name}`), '')
    const script = `
      const { renameSync, symlinkSync } = require('node:fs')
      const attempt = (work) => { try { work() } catch {} }
      for (;;) {
        attempt(() => symlinkSync('../../host', 'link'))
        attempt(() => renameSync('folder', 'kept'))
        attempt(() => renameSync('link', 'folder'))
        attempt(() => renameSync('folder', 'link'))
        attempt(() => renameSync('kept', 'folder'))
      }`
    mkdirSync(at('tree/inside'), { recursive: true })
    const swapper = spawn(process.execPath, ['-e', script], { cwd: at('tree/inside'), stdio: 'ignore' })
    const until = Date.now() + 1500
    while (Date.now() < until) {
      try {
        mkdirSync(at('tree/inside/folder'), { recursive: true })
        for (const name of names.slice(0, 30)) writeFileSync(at(`tree/inside/folder/${name}`), '')
      } catch {
        // It was exchanged.
      }
      for (const name of ['folder', 'kept', 'link'])
        try {
          removeTree(at(`tree/inside/${name}`))
        } catch {
          // It was exchanged once too often.
        }
    }
    swapper.kill('SIGKILL')
    await once(swapper, 'exit')
    expect(readdirSync(at('host')).length).toBe(names.length)
    removeTree(at('tree'))
    expect(readdirSync(directory)).toEqual(['host'])
  })
})
