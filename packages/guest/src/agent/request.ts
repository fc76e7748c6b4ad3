import { VarveError } from 'varve'
import { frameKind, maxOpenBytes, type VerbName, verb } from './bounds.js'
import { encodeFields, type Field } from './fields.js'
import { encodeFrame } from './frames.js'

/** The OPEN frame. Errors: INVALID_ARGUMENT if the request is longer than the agent takes. */
export function encodeRequest(name: VerbName, fields: readonly Field[]): Buffer {
  const head = Buffer.alloc(4)
  head.writeUInt16LE(verb[name], 0)
  const payload = Buffer.concat([head, encodeFields(fields)])
  if (payload.length > maxOpenBytes)
    throw new VarveError(
      'INVALID_ARGUMENT',
      `a request to the guest’s agent of ${payload.length} bytes; it takes ${maxOpenBytes}`,
    )
  return encodeFrame(frameKind.open, 0, payload)
}
