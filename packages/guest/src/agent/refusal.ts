import { VarveError } from 'varve'
import { tag } from './bounds.js'
import type { AnswerFields } from './fields.js'

/** A guest's words may be anything: they are shortened, and control characters, which must not
 * reach a terminal, are left out. */
export const plain = (text: string, most = 1024): string => text.slice(0, most).replace(/[^\P{Cc}\t\n]/gu, '')

/** The error that FAIL becomes. `what` names the call. */
export function refusal(what: string, fields: AnswerFields): VarveError {
  const agentCode = plain(fields.text(tag.code) ?? '', 32)
  const message = plain(fields.text(tag.message) ?? '')
  const errno = fields.number(tag.errno)
  const words = [agentCode, message, errno === undefined ? '' : `errno ${errno}`].filter((it) => it !== '')
  if (agentCode === 'TIMED_OUT')
    return new VarveError('TIMEOUT', `${what}: ${message}`, { details: { agentCode } })
  return new VarveError('GUEST_REFUSED', `${what}: ${words.join(': ')}`, {
    details: { agentCode, ...(errno === undefined ? {} : { errno }) },
  })
}
