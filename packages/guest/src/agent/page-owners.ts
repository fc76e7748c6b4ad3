import { VarveError } from 'varve'
import { AgentCall, type CallOptions } from './agent-call.js'
import { tag } from './bounds.js'
import type { AgentAddress } from './dial.js'
import type { Field } from './fields.js'

/** What `pageOwners` looks at. */
export interface PageOwnersOptions extends Pick<CallOptions, 'signal' | 'timeoutMs' | 'connectMs'> {
  /**
   * A directory of the guest: also the files below it, on its file system, that are cached. Default: none.
   */
  readonly filesBelow?: string | undefined
}

/** Asks when it is read. Ends with an error if the guest could not write the report to its end. */
export async function* pageOwners(
  address: AgentAddress,
  { filesBelow, ...options }: PageOwnersOptions = {},
): AsyncGenerator<Uint8Array> {
  if (filesBelow !== undefined && !/^\/[^\0]{0,4000}$/.test(filesBelow))
    throw new VarveError(
      'INVALID_ARGUMENT',
      `${JSON.stringify(filesBelow)} is not an absolute path in the guest`,
    )
  const fields: Field[] = filesBelow === undefined ? [] : [[tag.path, filesBelow]]
  using call = await AgentCall.open(address, 'pages', fields, { ...options, streams: [1] })
  yield* call.output
  await call.result
}
