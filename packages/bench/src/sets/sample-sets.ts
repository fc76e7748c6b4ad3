import { seededRandom } from '@varve/lab/testing'
import { type PageSet, pageSetFromBytes } from 'varve/working-sets'

/** Pairs of sets over so many pages, from the worst to the usual. */
export function pairsOf(pages: number): Readonly<Record<string, readonly [PageSet, PageSet]>> {
  const chance = seededRandom(1)
  const make = (has: (page: number) => boolean) =>
    pageSetFromBytes(Uint8Array.from({ length: pages }, (_, page) => (has(page) ? 1 : 0)))
  const random = (share: number) => make(() => chance() < share)
  /** Stretches of pages with gaps between them, both of random length: what recorders find. */
  const clustered = (averageRun: number, averageGap: number) => {
    let inside = false
    return make(() => {
      if (chance() < 1 / (inside ? averageRun : averageGap)) inside = !inside
      return inside
    })
  }
  const every = (step: number, from: number) => make((page) => page % step === from)
  return {
    'alternating, disjoint': [every(2, 0), every(2, 1)],
    'alternating, equal': [every(2, 0), every(2, 0)],
    'every 4th, disjoint': [every(4, 0), every(4, 2)],
    'alternating, random': [every(2, 0), random(0.5)],
    'random 1/2': [random(1 / 2), random(1 / 2)],
    'random 1/16': [random(1 / 16), random(1 / 16)],
    'random 1/64': [random(1 / 64), random(1 / 64)],
    'random 1/128': [random(1 / 128), random(1 / 128)],
    'random 1/256': [random(1 / 256), random(1 / 256)],
    'usual: 3,000 runs of 16': [clustered(16, 1400), clustered(16, 1400)],
  }
}
