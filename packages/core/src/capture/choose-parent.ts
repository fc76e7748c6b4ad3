import { isVarveError, VarveError } from '../errors.js'
import type { ImageId } from '../layer/layer-types.js'
import { countsFrom, countsFromBoot } from '../machine/log-origin.js'
import type { MachineHandle } from '../machine/machine-handle.js'
import type { SnapshotStore } from '../store/snapshot-store.js'

/** What a snapshot builds on, as the caller asks for it. */
export interface ParentOptions {
  /**
   * The snapshot that this one builds on, which makes it a Diff. `last` (default): the one that the machine's
   * log of written pages counts from, which it was restored from or which was taken last; if that is not
   * possible, a new base is taken, and `lost` of the result says why. Otherwise a reference of that snapshot;
   * any other snapshot is IMAGE_MISMATCH. A tag named `last` is not accepted here: use its snapshot's id.
   */
  readonly parent?: string | undefined
  /**
   * A new base, which builds on no snapshot. `Full` writes every page. `Diff` is as complete, sparse
   * and several times faster, but only for a machine that was booted here with dirty tracking and
   * has no snapshot yet; IMAGE_MISMATCH for any other. `true` takes the Diff if it can. Not together
   * with `parent` (INVALID_ARGUMENT).
   */
  readonly base?: boolean | 'Full' | 'Diff' | undefined
}

/** Why a snapshot is a new base although the machine has a history. */
export interface LostLineage {
  /**
   * `unknown`: Firecracker wrote a snapshot that was never sealed in a store (a capture that failed or was
   * abandoned, `takeDiff`, the `diff` recorder), or the machine was loaded from files. `untracked`: the
   * machine has no log of written pages. `not-in-store`: the last snapshot is not in this store. `owed`: a
   * live capture has read the log and was not sealed, and this one is not live, or the pages owed cannot be
   * read, so that it would have only a part of what was written since the last snapshot.
   */
  readonly reason: 'unknown' | 'untracked' | 'not-in-store' | 'owed'
  /** The last snapshot, if it is known. */
  readonly snapshot: ImageId | null
  /** The same in a sentence, for people. */
  readonly message: string
}

export interface ChosenParent {
  readonly parent: ImageId | undefined
  readonly base: 'auto' | 'Full' | 'Diff'
  /** Null if a parent was found, if a base was asked for, or if this is the machine's first snapshot. */
  readonly lost: LostLineage | null
}

type Machine = Pick<
  MachineHandle,
  'id' | 'snapshotId' | 'owed' | 'snapshotsTaken' | 'bootedHere' | 'dirtyTracking'
>

interface Taking {
  /** `live`: by Varve, which knows the pages owed, and needs no log to tell private pages. */
  readonly mode: 'live' | 'stop'
  /** Why the pages owed cannot be read, if so. */
  readonly owedProblem?: string | undefined
}

export async function chooseParent(
  machine: Machine,
  store: SnapshotStore,
  { parent = 'last', base = false }: ParentOptions,
  { mode, owedProblem }: Taking,
): Promise<ChosenParent> {
  const live = mode === 'live'
  if (base !== false) {
    if (parent !== 'last')
      throw new VarveError('INVALID_ARGUMENT', `parent ${parent} and a new base exclude each other: name one`)
    return { parent: undefined, base: base === true ? 'auto' : base, lost: null }
  }
  if (parent !== 'last') return { parent: (await store.resolve(parent)).id, base: 'auto', lost: null }
  const last = countsFrom(machine)
  const lost = (reason: LostLineage['reason'], why: string): ChosenParent => ({
    parent: undefined,
    base: 'auto',
    lost: { reason, snapshot: last, message: `${why}: the new snapshot of ${machine.id} is a base` },
  })
  if (owedProblem !== undefined) return lost('owed', owedProblem)
  if (machine.owed !== null && !live)
    return lost('owed', 'a live capture took the log of written pages and was not sealed')
  if (last === null) {
    if (countsFromBoot(machine) || (machine.bootedHere && machine.snapshotsTaken === 0))
      return { parent: undefined, base: 'auto', lost: null }
    return machine.snapshotsTaken > 0
      ? lost('unknown', 'the last snapshot that Firecracker wrote is in no store')
      : lost('unknown', 'the machine was loaded from files')
  }
  if (!machine.dirtyTracking && (!live || machine.bootedHere))
    return lost('untracked', 'the machine has no log of written pages')
  try {
    return { parent: (await store.resolve(last)).id, base: 'auto', lost: null }
  } catch (error) {
    if (!isVarveError(error, 'NOT_FOUND')) throw error
    return lost('not-in-store', `its last snapshot, ${last}, is not in ${store.location}`)
  }
}
