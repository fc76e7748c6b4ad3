/**
 * 16 KiB: pages of one layer that come with the one that was asked for, as the kernel maps neighbours of a
 * file page. Touched pages lie in runs (five pages, in the median of the sets measured here), and each page
 * more costs a tenth of a fault.
 */
export const aroundPages = 4

/**
 * One fault of so many is answered with its page alone while neighbours come, to see whether they would be
 * asked for.
 */
const probeEvery = 32
/** So many faults decide whether neighbours still come, and so many whether they come again. */
const blockWithNeighbours = 512
const blockAlone = 64
/** Of a block: 16 probes of pages touched in order bring 16 to 48 of these, pages far apart none. */
const fewestToStay = 5
/** Of a block: 1 in 16. Pages of one area in random order reach it when 2 % of them are there. */
const fewestToBegin = 4

/**
 * Whether neighbours are worth bringing, for one VM. A page that came as a neighbour is never asked for, so
 * its use cannot be seen. What is seen: a fault in a window (an aligned four of pages) of which one page was
 * brought alone before. If that is frequent, neighbours save faults; if it is rare, the guest touches
 * pages far apart, and each neighbour only costs its copy.
 */
export class Neighbours {
  /** A bit for each window of which a page was brought alone. */
  readonly #alone: Uint8Array
  #wanted = true
  #faults = 0
  #returns = 0

  constructor(imagePages: number) {
    this.#alone = new Uint8Array(Math.ceil(imagePages / aroundPages / 8))
  }

  /** To be asked once for each fault on a page of a layer: whether its neighbours are to come with it. */
  comeWith(page: number): boolean {
    const window = Math.floor(page / aroundPages)
    const bit = 1 << (window & 7)
    const bits = this.#alone[window >>> 3] as number
    if ((bits & bit) !== 0) this.#returns++
    const come = this.#wanted && ++this.#faults % probeEvery !== 0
    if (!come) this.#alone[window >>> 3] = bits | bit
    if (!this.#wanted) this.#faults++
    if (this.#faults >= (this.#wanted ? blockWithNeighbours : blockAlone)) this.#decide()
    return come
  }

  #decide(): void {
    this.#wanted = this.#returns >= (this.#wanted ? fewestToStay : fewestToBegin)
    this.#faults = 0
    this.#returns = 0
  }
}
