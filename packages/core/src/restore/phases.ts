/**
 * Wall-clock times of the named parts of a restore, milliseconds. Parts may
 * overlap; one that comes again adds up.
 */
export class Phases {
  readonly ms: Record<string, number> = {}
  readonly #start = performance.now()

  get totalMs(): number {
    return performance.now() - this.#start
  }

  readonly time = async <T>(name: string, work: () => Promise<T>): Promise<T> => {
    const from = performance.now()
    try {
      return await work()
    } finally {
      this.ms[name] = (this.ms[name] ?? 0) + performance.now() - from
    }
  }
}
