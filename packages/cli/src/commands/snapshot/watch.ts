import { captureSnapshot, connectMachine, VarveError, watchMachine } from 'varve'
import { integerOption, labelOption, labelsOption, positionals, stringOption } from '../../arguments.js'
import { captureMode, captureModeOptions } from '../../capture-mode.js'
import type { Command } from '../../command.js'
import { duration } from '../../duration.js'
import { hookHelp, hookOptions, hooksOf, type ReportedHook, reportHooks } from '../../hook-options.js'
import { openStore, storeOption } from '../../store.js'
import { count, shortId } from '../../text.js'

const defaultKeep = 20

export const command: Command = {
  usage: 'usage: varve snapshot watch NAME --every TIME [--keep N] [--count N] [options]',
  options: {
    ...storeOption,
    every: { type: 'string' },
    keep: { type: 'string' },
    count: { type: 'string' },
    ...captureModeOptions,
    ...labelOption,
    ...hookOptions,
  },
  help: `
  NAME           a running machine
  --every TIME   from the begin of one capture to the begin of the next: 500ms, 30s, 5m, 2h
  --keep N       how many of the snapshots stay. Default: ${defaultKeep}
  --count N      end after so many captures. Default: when the machine ends, or at Ctrl-C
  --live, --stop  as in varve snapshot create
  --label KEY=VALUE  a note about each snapshot, repeatable
${hookHelp}

Captures the machine again and again. Each snapshot builds on the one before, is named by the
machine and the time, and has the label watch=NAME. Only the last ones stay: watch removes the tags
of older ones, squashes their layers into one when there are many, and runs gc, which frees all that
nothing in the store needs. If a capture takes longer than TIME, watch says how many it left out. If
one fails, it says why, and tries again at the next time. A watch that is begun again goes on with
the same snapshots. The hooks of a guest run at each capture, as in varve snapshot create. --json
prints one line of JSON for each capture.

Examples:
  varve snapshot watch web --every 30s --keep 20
  varve snapshot watch web --every 5m --count 12 --json`,
  run: async (context) => {
    const [name] = positionals(context, ['NAME'])
    const { signal, values } = context
    const every = stringOption(values, 'every')
    if (every === undefined) throw new VarveError('USAGE', 'give --every TIME, such as --every 30s')
    const everyMs = duration(every, 'every')
    const keep = integerOption(values, 'keep') ?? defaultKeep
    const most = integerOption(values, 'count') ?? Number.POSITIVE_INFINITY
    const [mode, labels] = [captureMode(values), labelsOption(values)]
    const store = await openStore(context, { create: true })
    const machine = await connectMachine(name, { signal })
    if (machine.state === 'launched') throw new VarveError('MACHINE_STATE', `${name} has not booted`)
    const asked = await hooksOf(machine, context)
    const capture: typeof captureSnapshot = async (it, options) => {
      if (asked === undefined) return captureSnapshot(it, options)
      const captured = await asked.guests.captureGuest(it, { ...options, hookMs: asked.hookMs })
      hooks = reportHooks(name, captured.hooks, context)
      return captured
    }
    let hooks: ReportedHook[] = []
    let turns = 0
    for await (const turn of watchMachine(machine, { store, everyMs, keep, mode, labels, capture, signal })) {
      const { captured, error, turnMs, missed, removed } = turn
      if (context.json) {
        const { id = null, tags = [] } = captured?.entry ?? {}
        const { standstillMs = null, way = null, lost = null } = captured ?? {}
        context.printJsonLine({
          ...{ id, tags, standstillMs, way, lost, turnMs, missed },
          ...{ removed: removed.map((it) => it.id), error: error?.toJSON() ?? null, hooks },
        })
      } else {
        if (captured !== null)
          context.print(
            `${captured.entry.tags[0]}  ${shortId(captured.entry.id)}  guest stood still ${captured.standstillMs?.toFixed(0) ?? 0} ms (${captured.way.mode})  in the store after ${turnMs.toFixed(0)} ms`,
          )
        if (error !== null) context.say(`${error.code}: ${error.message}`)
        if (captured?.lost != null) context.say(captured.lost.message)
        if (missed > 0) context.say(`it took longer than ${every}: ${count(missed, 'capture')} left out`)
      }
      if (++turns >= most) return
    }
  },
}
