import { VarveError } from 'varve'

/** What the guest said of its pages cannot be. */
export const brokenReport = (what: string): VarveError =>
  new VarveError('GUEST_PROTOCOL', `the guest’s report of its pages has ${what}`)
