import { checkHost, VarveError } from 'varve'
import { positionals } from '../arguments.js'
import type { Command } from '../command.js'

const marks = { ok: 'ok  ', note: 'note', lack: 'LACK' } as const

export const command: Command = {
  usage: 'usage: varve doctor [--fetch] [--json]',
  options: { fetch: { type: 'boolean' } },
  help: `
  --fetch    fetch the pinned Firecracker if none is found

Checks the Firecracker binary and its version, /dev/kvm and what runs on it, userfaultfd, ptrace,
reflinks in this directory, memory, how the host logs dirty pages, the mapping limit, and whether
recordings can hold fault-around. Exits 3 if something is lacking.

Example:
  varve doctor --json`,
  run: async (context) => {
    positionals(context, [])
    const { signal, say } = context
    const checks = await checkHost({ signal, download: context.values.fetch === true, onProgress: say })
    if (context.json) context.printJson({ checks })
    else
      for (const { id, status, finding, remedy } of checks) {
        context.print(`${marks[status]}  ${id.padEnd(14)} ${finding}`)
        if (remedy !== undefined) context.print(`${' '.repeat(21)}-> ${remedy}`)
      }
    const lacks = checks.filter(({ status }) => status === 'lack').map(({ id }) => id)
    if (lacks.length > 0) throw new VarveError('HOST_UNSUPPORTED', `this machine lacks ${lacks.join(', ')}`)
  },
}
