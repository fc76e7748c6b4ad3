import type { ProcessIdentity } from '../../sys/proc.js'

/** What a page server is to do, as JSON in its first argument. */
export interface PageServerOrder {
  readonly runtime: string
  readonly lingerMs: number
  /** Stand by until this server leaves, then serve its VMs on. */
  readonly after?: ProcessIdentity
}

/** What the guard watches, as JSON in its first argument. */
export interface GuardOrder extends PageServerOrder {
  readonly server: ProcessIdentity
}
