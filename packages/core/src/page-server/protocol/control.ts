import type { ProcessIdentity } from '../../sys/proc.js'
import type { AfterRecorded } from '../../working-set/recording.js'
import { type LineServer, startLineServer } from './line-server.js'

/** The processes that a VM depends on at the moment. */
export interface ServingProcesses {
  /** The page server. */
  readonly server: ProcessIdentity
  /** Null for the moment in which there is none. */
  readonly guard: ProcessIdentity | null
}

const afterRecorded: readonly AfterRecorded[] = ['go-on', 'again', 'stop']

interface ControlParts {
  stats(): object
  processes(): ServingProcesses
  /** Both throw if the server cannot do it. */
  record(writes: boolean): Promise<object>
  recorded(next: AfterRecorded): Promise<object>
  /** The report, at once, or when there is an end of it, or after a while. */
  prefetched(wait: boolean): Promise<object>
  graduation(wait: boolean): Promise<object>
  /** Throws if the configuration cannot be taken; then the VM is served as before. */
  reread(): Promise<object>
  readonly stop: () => void
}

/** Answers questions of one VM's owner; see docs/formats/page-server-protocol.md. */
export function startControl(path: string, parts: ControlParts): Promise<LineServer> {
  return startLineServer(
    path,
    async ({ op, writes, next: asked, wait }) => {
      switch (op) {
        case 'stats':
          return parts.stats()
        case 'record':
          if (typeof writes !== 'boolean') return { error: 'writes is not true or false' }
          return parts.record(writes)
        case 'recorded': {
          const next = afterRecorded.find((it) => it === asked)
          if (next === undefined) return { error: `next is not ${afterRecorded.join(', ')}` }
          return parts.recorded(next)
        }
        case 'prefetched':
          return parts.prefetched(wait === true)
        case 'graduation':
          return parts.graduation(wait === true)
        case 'reread':
          return parts.reread()
        case 'processes':
          return parts.processes()
        case 'stop':
          return {}
        default:
          return { error: `no operation ${JSON.stringify(op)}` }
      }
    },
    ({ op }) => op === 'stop' && parts.stop(),
  )
}
