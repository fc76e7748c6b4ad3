import { defaultStoreDirectory, isVarveError, type LocalStore, openLocalStore } from 'varve'
import { stringOption } from './arguments.js'
import type { CommandContext, OptionTable } from './command.js'

/** For every verb that works on the store; `help` then says what --store and REF are. */
export const storeOption = { store: { type: 'string' } } as const satisfies OptionTable

/** The store of this command line. Only verbs that put something in make one. */
export async function openStore(
  { values }: CommandContext,
  { create = false }: { readonly create?: boolean } = {},
): Promise<LocalStore> {
  return openLocalStore(stringOption(values, 'store') ?? defaultStoreDirectory(), { create })
}

/** Whether the store of this command line has a snapshot of that name; false if there is no store, too. */
export async function isSnapshot(ref: string, context: CommandContext): Promise<boolean> {
  try {
    await (await openStore(context)).resolve(ref)
    return true
  } catch (error) {
    if (isVarveError(error, 'NOT_FOUND')) return false
    throw error
  }
}
