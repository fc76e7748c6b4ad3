import type { ExecResult, Guest, GuestAgent } from '@varve/guest'
import { type FixUpStep, type PausedMachine, type RunningMachine, restoreMachine, VarveError } from 'varve'
import { integerOption } from '../arguments.js'
import type { Command, CommandContext } from '../command.js'
import { firecrackerPlaces } from '../firecracker-options.js'
import { chosenFixUp, fixUpHelp, fixUpOptions } from '../fix-up-options.js'
import { loadGuest } from '../guest.js'
import { chosenCommand, guestCommandHelp, guestCommandOptions, wantsTty } from '../guest-command-options.js'
import { hookMsOf, hooksOf, type ReportedHook, reportHooks } from '../hook-options.js'
import { chosenWorkingSet, restoreChoices, restoreHelp, restoreOptions } from '../restore-options.js'
import { runInGuest } from '../run-in-guest.js'
import { isSnapshot, openStore, storeOption } from '../store.js'

export const command: Command = {
  usage: 'usage: varve run GUEST|SNAPSHOT [options] -- COMMAND [ARG...]',
  options: {
    ...storeOption,
    ...restoreOptions,
    ...fixUpOptions,
    ...guestCommandOptions,
    memory: { type: 'string' },
    vcpus: { type: 'string' },
    guest: { type: 'boolean' },
    snapshot: { type: 'boolean' },
  },
  help: `
Boots a guest, or restores a snapshot of one; fixes it up (new identity, time and entropy); runs its
hook run, a command, and its hook terminate; and ends it. Streams and exit status are the command's,
as with varve exec. The time of each part is printed on standard error.

  GUEST                  a guest that varve guest build made
  SNAPSHOT               a snapshot of a guest with the agent of @varve/guest
  --guest, --snapshot    which one is meant, if a guest and a snapshot have the same name
  --memory MIB           memory of a booted guest (default 256)
  --vcpus N              vCPUs of a booted guest (default 1)
${guestCommandHelp}
${fixUpHelp}

With a snapshot also:
${restoreHelp}

Examples:
  varve run py -- python3 -c 'print(6 * 7)'
  varve run warm --working-set hello -- python3 app.py`,
  run: async (context) => {
    const { values, signal, positionals } = context
    const [name, ...argv] = positionals
    if (name === undefined || argv.length === 0)
      throw new VarveError('USAGE', 'expected GUEST -- COMMAND', { remedy: 'varve help run' })
    const options = { ...chosenCommand(values), signal }
    const begin = performance.now()
    const ms: Record<string, number> = {}
    const timed = async <T>(part: string, work: () => Promise<T>): Promise<T> => {
      const from = performance.now()
      try {
        return await work()
      } finally {
        ms[part] = Math.round((performance.now() - from) * 10) / 10
      }
    }
    const isGuest = await meansGuest(name, context)
    const started = await timed(isGuest ? 'boot' : 'restore', () =>
      isGuest ? boot(name, context) : restore(name, context),
    )
    let status = 0
    let hooks: readonly ReportedHook[] = []
    let result: ExecResult | undefined
    try {
      await timed('command', async () => {
        if (context.json) result = await started.agent.exec(argv, options)
        else status = await runInGuest(started.agent, argv, process, { ...options, tty: wantsTty(values) })
      })
    } finally {
      hooks = await timed('end', () => started.end())
    }
    const totalMs = Math.round(performance.now() - begin)
    if (result !== undefined) {
      const { stdout, stderr, ...ended } = result
      const output = { stdout: stdout.toString(), stderr: stderr.toString() }
      context.printJson({ ...ended, ...output, ms, totalMs, fixUp: started.told, hooks })
    } else {
      const parts = Object.entries(ms).map(([part, took]) => `${part} ${took} ms`)
      context.say(`${parts.join(', ')}; ${totalMs} ms in all`)
    }
    return status
  },
}

interface Started {
  readonly agent: GuestAgent
  /** What the guest was told, and its hook; null if it was told nothing. */
  readonly told: readonly FixUpStep[] | null
  /** Ends it; gives the hooks that ran at its end. */
  end(): Promise<readonly ReportedHook[]>
}

/** Guests and snapshots have names of their own. */
async function meansGuest(name: string, context: CommandContext): Promise<boolean> {
  const { values } = context
  if (values.guest === true || values.snapshot === true) return values.guest === true
  const { listGuests } = await loadGuest()
  const isGuest = (await listGuests()).some((it) => it.name === name)
  if (isGuest && (await isSnapshot(name, context)))
    throw new VarveError('USAGE', `${name} is both a guest and a snapshot`, {
      remedy: 'say --guest or --snapshot',
    })
  return isGuest
}

async function boot(name: string, context: CommandContext): Promise<Started> {
  const { values, signal } = context
  const { bootGuest } = await loadGuest()
  const machine = {
    ...sized('memoryMib', integerOption(values, 'memory')),
    ...sized('vcpus', integerOption(values, 'vcpus')),
  }
  const guest: Guest = await context.progress(`booting ${name}`, () =>
    bootGuest(name, { ...firecrackerPlaces(values), machine, hookMs: hookMsOf(values), signal }),
  )
  return { agent: guest, told: guest.told, end: () => endedBy(guest.machine, context) }
}

const sized = (field: string, value: number | undefined) => (value === undefined ? {} : { [field]: value })

async function restore(ref: string, context: CommandContext): Promise<Started> {
  const { values, signal } = context
  const { guestAgent } = await loadGuest()
  const store = await openStore(context)
  const set = await chosenWorkingSet(store, ref, context)
  // Without the agent no command could be run.
  const asked = values['no-fix-up'] === true ? values : { ...values, 'fix-up': true }
  const options = {
    ...restoreChoices(context),
    ...set,
    ...(await chosenFixUp({ ...context, values: asked }, null)),
    signal,
  }
  const restored = await context.progress(`restoring ${ref}`, () => restoreMachine(store, ref, options))
  return {
    agent: guestAgent(restored.machine),
    told: restored.report.fixUp,
    end: async () => {
      await using _restored = restored
      return await endedBy(restored.machine, context)
    },
  }
}

async function endedBy(
  machine: RunningMachine | PausedMachine,
  context: CommandContext,
): Promise<readonly ReportedHook[]> {
  const asked = await hooksOf(machine, context)
  if (asked === undefined) {
    await machine.stop()
    return []
  }
  // No signal: after Ctrl-C the machine ends, too.
  const { hooks } = await asked.guests.stopGuest(machine, { hookMs: asked.hookMs })
  return reportHooks(machine.id, hooks, context)
}
