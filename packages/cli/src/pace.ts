/** `12 of 400 pages`, `layer 3: 12 of 40 MiB hashed`: how far, and what it counts. */
const amount = /^(.*?)(\d+) of (\d+)(?: ([A-Za-z]+))?/
const pagesPerMib = 256

/** How fast work goes, and how long it will take, from what it says of itself. */
export class Pace {
  #part = ''
  #from = { done: 0, atMs: 0 }
  #now = { done: 0, total: 0, atMs: 0 }
  #unit = ''

  told(detail: string, atMs: number): void {
    const [, part = '', done = '0', total = '0', unit = ''] = amount.exec(detail) ?? []
    const now = { done: Number(done), total: Number(total), atMs }
    // Another part of the work, or the next layer, goes at its own pace.
    if (part !== this.#part || now.total !== this.#now.total || now.done < this.#now.done)
      this.#from = { done: now.done, atMs }
    this.#part = part
    this.#now = now
    this.#unit = unit
  }

  /** `, 210 MiB/s, 4 s left`; empty until there is something to tell. */
  text(nowMs: number): string {
    const { done, total, atMs } = this.#now
    const seconds = (atMs - this.#from.atMs) / 1000
    const rate = (done - this.#from.done) / seconds
    if (!(seconds > 0 && rate > 0)) return ''
    const left = Math.max(0, (total - done) / rate - (nowMs - atMs) / 1000)
    return `${rateText(rate, this.#unit)}, ${duration(left)} left`
  }
}

function rateText(rate: number, unit: string): string {
  const mib = unit === 'MiB' ? rate : unit === 'pages' ? rate / pagesPerMib : undefined
  if (mib === undefined) return ''
  return `, ${mib >= 10 ? mib.toFixed(0) : mib.toFixed(1)} MiB/s`
}

/** "5 s", "3 min". */
export function duration(seconds: number): string {
  const whole = Math.ceil(seconds)
  return whole < 90 ? `${whole} s` : `${Math.round(whole / 60)} min`
}
