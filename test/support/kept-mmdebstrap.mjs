#!/usr/bin/env node
// In place of mmdebstrap (test/support/kept-debians.ts): runs it, and keeps what it made for the next time.
// An installation takes a minute; what becomes of its archive is tested each time.
import { createHash } from 'node:crypto'
import { copyFileSync, rmSync, symlinkSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { buildOnce, runTool } from '@varve/guest/testing'

const args = process.argv.slice(2)
const target = args.pop()
const key = createHash('sha256').update(args.join('\0')).digest('hex').slice(0, 16)
// The first folder of PATH has this program.
const [own, ...folders] = process.env.PATH.split(delimiter)
const kept = await buildOnce(`debian-${key}`, 'made', async (directory) => {
  await runTool('mmdebstrap', [...args, join(directory, 'debian.tar')], {
    env: { ...process.env, PATH: folders.join(delimiter) },
    timeoutMs: 15 * 60_000,
    endBy: 'SIGTERM',
  })
})
const archive = join(kept, 'debian.tar')
copyFileSync(archive, target)
rmSync(join(own, 'last.tar'), { force: true })
symlinkSync(archive, join(own, 'last.tar'))
