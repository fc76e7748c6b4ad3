import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { VarveError } from '../errors.js'
import { describeExit } from '../firecracker/vmm-exit.js'
import { failureFromJson } from '../helper/failure-json.js'
import { LineHelper } from '../helper/line-helper.js'
import type { MapOrder, MapReport } from './map-into-vmm.js'
import { type MapperAnswer, orderToJson } from './mapper-protocol.js'

/** The mapper's script. Its argument is the process with which it ends. */
export const mapperProgram = fileURLToPath(new URL('mapper-main.js', import.meta.url))

/**
 * A mapper is a process of its own: a tracer must not be the parent of what it traces, see `Tracee`, and
 * we are Firecracker's. Node takes some 50 ms to start, so one that has done its work waits for the
 * next; none outlives this process.
 */
class Mapper {
  readonly #helper: LineHelper<MapperAnswer>

  constructor(onEnd: (mapper: Mapper) => void) {
    this.#helper = new LineHelper(
      {
        program: mapperProgram,
        cannotStart: (cause) =>
          new VarveError('LAUNCH_FAILED', `cannot start the mapper: ${cause.message}`, { cause }),
        hasEnded: (code, signal, lastWords) =>
          new VarveError(
            'INJECTION_FAILED',
            `the mapper ended (${describeExit({ code, signal })}), and the VM with it, if it held one${lastWords === '' ? '' : `: ${lastWords}`}`,
          ),
      },
      () => onEnd(this),
    )
  }

  get usable(): boolean {
    return this.#helper.usable
  }

  send(order: MapOrder): void {
    this.#helper.send(orderToJson(order))
  }

  /** The next answer; `failed` as its error. */
  async next(): Promise<MapperAnswer> {
    const answer = await this.#helper.next()
    if (answer.state === 'failed') throw failureFromJson(answer.error, 'INJECTION_FAILED')
    return answer
  }
}

/**
 * Some 40 MB each, and mapping is work for a CPU: if all of them are busy, a
 * restore waits for one, some 20 ms.
 */
const mostMappers = Math.min(4, availableParallelism())
const living = new Set<Mapper>()
const idle: Mapper[] = []
const queue: ((mapper: Mapper) => void)[] = []

/** Whether one waits for work, or is being started for that. */
export const mapperWaits = (): boolean => idle.some((mapper) => mapper.usable)

/** Has a mapper start now, unless one waits already. */
export function warmMapper(): void {
  if (!mapperWaits() && living.size < mostMappers) idle.push(newMapper())
}

function newMapper(): Mapper {
  const mapper = new Mapper((failed) => living.delete(failed))
  living.add(mapper)
  return mapper
}

/**
 * Resolves once a mapper holds the VMM: the load may begin. `mapped` rejects if the VM was killed, or ended
 * otherwise. The mapper is started while `order` is being made.
 */
export async function startMapping(
  order: () => Promise<MapOrder>,
): Promise<{ readonly mapped: Promise<MapReport> }> {
  warmMapper()
  const made = await order()
  const mapper = await takeMapper()
  try {
    mapper.send(made)
    await expectAnswer(mapper, 'attached')
  } catch (error) {
    giveBack(mapper)
    throw error
  }
  const mapped = expectAnswer(mapper, 'mapped')
    .then(({ report }) => report)
    .finally(() => giveBack(mapper))
  // It may fail before anything awaits it.
  mapped.catch(() => {})
  return { mapped }
}

async function expectAnswer<State extends MapperAnswer['state']>(
  mapper: Mapper,
  state: State,
): Promise<Extract<MapperAnswer, { state: State }>> {
  const answer = await mapper.next()
  if (answer.state !== state)
    throw new VarveError('INJECTION_FAILED', `the mapper answered ${answer.state}, not ${state}`)
  return answer as Extract<MapperAnswer, { state: State }>
}

async function takeMapper(): Promise<Mapper> {
  for (let mapper = idle.pop(); mapper !== undefined; mapper = idle.pop()) if (mapper.usable) return mapper
  return living.size < mostMappers ? newMapper() : new Promise((resolve) => queue.push(resolve))
}

function giveBack(mapper: Mapper): void {
  const next = queue.shift()
  if (next !== undefined) next(mapper.usable ? mapper : newMapper())
  else if (mapper.usable) idle.push(mapper)
}
