import { constants, type FileHandle, open } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { connectMachine, pathError } from 'varve'
import { integerOption, positionals } from '../arguments.js'
import type { Command } from '../command.js'
import { printableLines } from '../text.js'

const everyMs = 200

export const command: Command = {
  usage: 'usage: varve logs NAME',
  options: { follow: { type: 'boolean', short: 'f' }, bytes: { type: 'string' } },
  help: `
Shows what the guest wrote to its serial console. Control characters are left out, because they
could control your terminal.

  -f, --follow     keep showing new output until Ctrl-C, or until the machine ends
  --bytes N        only the last N bytes (default 65536)

Examples:
  varve logs web
  varve logs web -f`,
  run: async (context) => {
    const { values, signal } = context
    const [name] = positionals(context, ['NAME'])
    const machine = await connectMachine(name, { signal })
    const path = machine.paths.consoleOutput
    await using file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW).catch((cause: Error) => {
      throw pathError(cause, `${name} has no console: ${cause.message}`)
    })
    const { size } = await file.stat()
    let at = Math.max(0, size - (integerOption(values, 'bytes') ?? 65_536))
    const text = async () => {
      const bytes = await readFrom(file, at)
      at += bytes.length
      return printableLines(bytes.toString().replace(/\r/g, ''))
    }
    if (context.json) return context.printJson({ id: machine.id, console: await text() })
    process.stdout.write(await text())
    while (values.follow === true && !signal.aborted) {
      const ended = await Promise.race([machine.exited.then(() => true), sleep(everyMs, false, { signal })])
      process.stdout.write(await text())
      if (ended) break
    }
  },
}

/** What there is now, at most 1 MiB. */
async function readFrom(file: FileHandle, at: number): Promise<Buffer> {
  const buffer = Buffer.alloc(2 ** 20)
  const { bytesRead } = await file.read(buffer, 0, buffer.length, at)
  return buffer.subarray(0, bytesRead)
}
