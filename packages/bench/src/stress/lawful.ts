import { type ErrorCode, VarveError } from 'varve'
import type { Context } from './context.js'
import { isSuppressedError } from './show.js'

interface Rule {
  readonly code: ErrorCode
  /** Missing: of any action. */
  readonly actions?: readonly string[]
  readonly when: (context: Context, error: VarveError) => boolean
  readonly why: string
}

/**
 * Failures that are right, because another worker removed or killed something that the action used.
 * Everything else is a failure of the run: other codes, errors that are no VarveError, wrong memory, a
 * missing tag. `when` gets the action's `Context`.
 */
const rules: readonly Rule[] = [
  {
    code: 'NOT_FOUND',
    when: (context) => context.refGone(),
    why: 'the tag was removed, or was going to be, before it was looked up',
  },
  {
    code: 'NOT_FOUND',
    actions: ['adopt'],
    when: (context) => context.vmKilled(),
    why: 'the detached VM was killed, and a process that listed machines removed it',
  },
  {
    code: 'IMAGE_MISMATCH',
    actions: ['squash', 'pack', 'renew'],
    when: (context) => context.relayers,
    why: 'the snapshot got other layers, another working set or was removed while its layers were written ("was changed or removed meanwhile")',
  },
  {
    code: 'ALREADY_EXISTS',
    actions: ['boot', 'restore', 'killBoth'],
    when: (context) => context.sharedName,
    why: 'another worker has a machine of this name',
  },
  {
    code: 'MACHINE_EXITED',
    when: (context) => context.vmKilled(),
    why: 'its VMM was killed',
  },
  ...(['LAUNCH_FAILED', 'LOAD_FAILED', 'INJECTION_FAILED', 'API_TRANSPORT'] as const).map(
    (code): Rule => ({
      code,
      actions: ['boot', 'restore', 'killBoth', 'clones', 'record'],
      when: (context) => context.ownVmmKilled(),
      why: 'a VMM of this worker was killed while it was being started or loaded',
    }),
  ),
  ...(['INJECTION_FAILED', 'MACHINE_EXITED', 'LAUNCH_FAILED'] as const).map(
    (code): Rule => ({
      code,
      actions: ['restore', 'clones'],
      when: (context) => context.mapperKilled(),
      why: 'the mapper of this worker was killed: the VM that it held ends with it',
    }),
  ),
  {
    code: 'API_TRANSPORT',
    when: (context) => context.vmKilled(),
    why: 'its VMM was killed while it was asked something that is not a step of its life',
  },
  ...(['PAGE_SERVER_DIED', 'LOAD_FAILED', 'MACHINE_EXITED', 'PAGE_SERVER_PROTOCOL'] as const).map(
    (code): Rule => ({
      code,
      actions: ['restore', 'killBoth', 'clones', 'record', 'touch', 'capture', 'renew', 'detach', 'adopt'],
      when: (context) => context.serverKilledInHandshake(),
      why: 'the page server was killed while this VM handed its memory over: sent and not noted, it cannot be taken over',
    }),
  ),
  {
    code: 'LAUNCH_FAILED',
    actions: ['restore', 'killBoth', 'clones', 'record', 'handOver'],
    when: (context) => context.serverKilled(),
    why: 'the page server or its guard was killed while it was being started',
  },
  {
    code: 'PAGE_SERVER_PROTOCOL',
    actions: ['killServer', 'killGuard', 'killBoth', 'handOver'],
    when: (context) => context.serverKilled(),
    why: 'the page server was killed while it was asked',
  },
  {
    code: 'RECORDER_UNRELIABLE',
    actions: ['record'],
    when: (context) => context.serverKilled(),
    why: 'a recording by page faults is lost with the page server, and says so',
  },
  {
    code: 'RECORDER_UNRELIABLE',
    actions: ['record'],
    when: ({ notes }, { message }) =>
      Array.isArray(notes.recorders) &&
      notes.recorders.includes('mincore') &&
      /stay in the page cache/.test(message),
    why: 'another VM has the same flat file mapped: its pages cannot be dropped, which mincore says',
  },
  {
    code: 'RECORDER_UNRELIABLE',
    actions: ['handOver'],
    when: () => true,
    why: 'another worker records: a hand-over would lose that, and is refused',
  },
  {
    code: 'MACHINE_STATE',
    actions: ['handOver'],
    when: () => true,
    why: 'a VM is just being taken on: the hand-over is refused, nothing has changed',
  },
]

/** Why this failure of this action is right; undefined if it is not. */
export function lawful(action: string, error: unknown, context: Context): string | undefined {
  if (isSuppressedError(error)) {
    const [why, other] = [error.suppressed, error.error].map((it) => lawful(action, it, context))
    return why === undefined || other === undefined ? undefined : why
  }
  if (!(error instanceof VarveError)) return undefined
  return rules.find(
    ({ code, actions, when }) =>
      error.code === code && (actions === undefined || actions.includes(action)) && when(context, error),
  )?.why
}
