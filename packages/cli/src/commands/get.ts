import { randomBytes } from 'node:crypto'
import { createWriteStream } from 'node:fs'
import { rename, rm, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import type { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { VarveError } from 'varve'
import { positionals, stringOption } from '../arguments.js'
import type { Command } from '../command.js'
import { agentIn } from '../guest.js'
import { humanBytes } from '../text.js'

export const command: Command = {
  usage: 'usage: varve get NAME GUEST-PATH FILE',
  options: { user: { type: 'string', short: 'u' }, 'max-size': { type: 'string' } },
  help: `
Copies a file out of a guest that has the agent of @varve/guest: the whole file, or nothing. If FILE
is -, writes to standard output, as the bytes come; if FILE is a folder, the file keeps its name in
it. The guest decides what it sends, so the copy is never executable, and the transfer fails if it
exceeds --max-size.

  --max-size MIB     the largest file to accept (default 4096)
  -u, --user USER    the guest's user that reads the file (default root)

Examples:
  varve get web /var/log/app.log .
  varve get web /proc/meminfo -`,
  run: async (context) => {
    const { values, signal } = context
    const [name, path, target] = positionals(context, ['NAME', 'GUEST-PATH', 'FILE'])
    const user = stringOption(values, 'user')
    const mostMib = Number(stringOption(values, 'max-size') ?? 4096)
    if (!(mostMib > 0)) throw new VarveError('USAGE', '--max-size is not a number above 0')
    const agent = await agentIn(name, signal)
    await using file = await agent.get(path, { ...(user === undefined ? {} : { user }), signal })
    const content = bounded(file.content, mostMib * 2 ** 20, path)
    if (target === '-') {
      await pipeline(content, process.stdout as Writable, { end: false })
      return
    }
    const to = (await isDirectory(target)) ? join(target, nameOf(path)) : target
    const draft = `${to}.varve-${randomBytes(6).toString('hex')}`
    try {
      const sink = createWriteStream(draft, { flags: 'wx', mode: 0o644 })
      await context.progress(`reading ${path}`, () => pipeline(content, sink))
      await rename(draft, to)
      if (context.json) context.printJson({ path: to, bytes: sink.bytesWritten })
      else context.say(`${to}: ${humanBytes(sink.bytesWritten)}`)
    } finally {
      await rm(draft, { force: true })
    }
  },
}

/** A name that the caller gave: the guest has no say in it. */
function nameOf(path: string): string {
  const name = basename(path)
  if (name === '' || name === '.' || name === '..')
    throw new VarveError('USAGE', `${path} is no path of a file`)
  return name
}

async function isDirectory(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() === true
}

async function* bounded(content: AsyncIterable<Buffer>, most: number, path: string): AsyncGenerator<Buffer> {
  let bytes = 0
  for await (const chunk of content) {
    bytes += chunk.length
    if (bytes > most)
      throw new VarveError('GUEST_PROTOCOL', `${path} has more than ${most} bytes`, {
        remedy: 'give a larger --max-size, if that is right',
      })
    yield chunk
  }
}
