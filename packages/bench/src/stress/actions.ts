import type { Action } from './action.js'
import * as kills from './actions/kill-actions.js'
import * as layers from './actions/layer-actions.js'
import * as machines from './actions/machine-actions.js'
import * as restores from './actions/restore-actions.js'
import * as stores from './actions/store-actions.js'

interface Choice {
  readonly run: Action
  /** How often it comes. */
  readonly weight: number
  /** It needs a VM of this worker. */
  readonly vm?: boolean
  /** It needs room for one more. */
  readonly room?: boolean
}

const choice = <Names extends string>(all: Record<Names, Choice>): Readonly<Record<Names, Choice>> => all

export const actions = choice({
  boot: { run: machines.boot, weight: 3, room: true },
  touch: { run: machines.touch, weight: 8, vm: true },
  capture: { run: machines.capture, weight: 14, vm: true },
  renew: { run: layers.renew, weight: 4, vm: true },
  stop: { run: machines.stop, weight: 4, vm: true },
  detach: { run: machines.detach, weight: 2, vm: true },
  adopt: { run: machines.adopt, weight: 3, room: true },
  list: { run: machines.list, weight: 2 },
  restore: { run: restores.restore, weight: 22 },
  clones: { run: restores.clones, weight: 5 },
  record: { run: restores.record, weight: 5 },
  remove: { run: stores.remove, weight: 6 },
  tag: { run: stores.tag, weight: 5 },
  gc: { run: stores.gc, weight: 5 },
  squash: { run: layers.squash, weight: 5 },
  pack: { run: layers.pack, weight: 4 },
  flatten: { run: stores.flatten, weight: 3 },
  export: { run: stores.exportSome, weight: 3 },
  import: { run: stores.importSome, weight: 3 },
  killServer: { run: kills.killServer, weight: 2 },
  killGuard: { run: kills.killGuard, weight: 2 },
  killBoth: { run: kills.killBoth, weight: 1 },
  handOver: { run: kills.handOver, weight: 2 },
  killMapper: { run: kills.killMapper, weight: 1 },
  killVmm: { run: kills.killVmm, weight: 2 },
  killWorker: { run: kills.killWorker, weight: 1 },
})

export type ActionName = keyof typeof actions

export const isAction = (name: string): name is ActionName => Object.hasOwn(actions, name)

export interface Situation {
  readonly vms: readonly unknown[]
  /** Snapshots in the store. */
  readonly snapshots: number
  readonly only: readonly string[]
}

/** Weights of what is possible now. */
export function weightsOf({ vms, only, snapshots }: Situation): Partial<Record<ActionName, number>> {
  const possible = (Object.entries(actions) as [ActionName, Choice][]).filter(
    ([name, { vm, room }]) =>
      only.includes(name) && (!vm || vms.length > 0) && (!room || vms.length < machines.mostVms),
  )
  const many = snapshots > stores.manySnapshots
  return Object.fromEntries(
    possible.map(([name, { weight }]) => [name, many && name === 'remove' ? 4 * weight : weight]),
  )
}
