import { positionals } from '../arguments.js'
import type { Command } from '../command.js'
import { command as run } from './lab/run.js'

/** What a first look needs: one guest, one set, one image, one VM at a time, three rounds. */
const quick = ['memoryMib=512', 'setMib=24', 'clones=1', 'depth=3']
const quickRounds = '3'

export const command: Command = {
  usage: 'usage: varve bench [--quick] [--out DIR] [--rounds N] [--only FACTOR=VALUE,…] [options]',
  options: { ...run.options, quick: { type: 'boolean' } },
  help: `
  --quick               a guest of 512 MiB, a working set of 24 MiB, three rounds: a few minutes
  --out DIR, --rounds N, --only FACTOR=VALUE,…, --lab native|nested
                        as for varve lab run

Measures how long it takes from the request until a restored VM has touched its working set: every
engine against Firecracker alone, in one run on this machine, with a guest that needs no image. The
same as varve lab run micro. Interrupt it with Ctrl-C; run the same command again to resume.

Examples:
  varve bench --quick
  varve bench --only cache=cold --rounds 20 --out reports/cold`,
  run: async (context) => {
    positionals(context, [])
    const { quick: isQuick, ...values } = context.values
    const short = { rounds: quickRounds, ...values, only: [...quick, ...((values.only as string[]) ?? [])] }
    await run.run({ ...context, positionals: ['micro'], values: isQuick === true ? short : values })
  },
}
