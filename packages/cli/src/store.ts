import { defaultStoreDirectory, openLocalStore, type SnapshotStore } from 'varve'
import { stringOption } from './arguments.js'
import type { CommandContext, OptionTable } from './command.js'

/** For every verb that works on the store; `help` then says what --store and REF are. */
export const storeOption = { store: { type: 'string' } } as const satisfies OptionTable

/** The store of this command line. Only verbs that put something in make one. */
export async function openStore(
  { values }: CommandContext,
  { create = false }: { readonly create?: boolean } = {},
): Promise<SnapshotStore> {
  return openLocalStore(stringOption(values, 'store') ?? defaultStoreDirectory(), { create })
}
