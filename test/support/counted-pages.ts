/** What a counted page of test/nested-lab/memory-workers.py holds, as counted-in-image.mjs finds it. */
export type CountedPage = readonly [worker: number, place: number, number: number]

const ring = 32
const [newestPlace, seenPlace, pagesOfWorker] = [ring, ring + 1, 2 * ring + 1]

/**
 * What contradicts that the pages are of one instant, in words. Each worker writes a number into its ring,
 * then as its newest, then into a second ring the newest number of the next worker, and so on.
 */
export function faultsOfInstant(found: readonly CountedPage[], workers: number): string[] {
  const pages = new Map(found.map(([worker, place, number]) => [worker * pagesOfWorker + place, number]))
  if (found.length !== workers * pagesOfWorker || pages.size !== found.length)
    return [`${found.length} counted pages (${pages.size} different ones) of ${workers} workers`]
  const at = (worker: number, place: number) => pages.get(worker * pagesOfWorker + place) as number
  return Array.from({ length: workers }, (_, worker) => {
    const next = (worker + 1) % workers
    return faultsOfWorker((place) => at(worker, place), at(next, newestPlace)).map(
      (fault) => `worker ${worker}: ${fault}`,
    )
  }).flat()
}

function faultsOfWorker(at: (place: number) => number, newestOfNext: number): string[] {
  const faults: string[] = []
  const slots = Array.from({ length: ring }, (_, slot) => slot)
  const number = Math.max(...slots.map(at))
  for (const slot of slots) {
    const due = number - ((number - slot + ring) % ring)
    if (at(slot) !== Math.max(0, due))
      faults.push(`page ${slot} holds ${at(slot)}, not ${due}, at number ${number}`)
  }
  const newest = at(newestPlace)
  if (newest !== number && newest !== number - 1) faults.push(`its newest number is ${newest}, not ${number}`)
  // Oldest first. The step of `number` itself may have come to its own ring only.
  const seen = slots.slice(1).map((step) => at(seenPlace + ((number + step) % ring)))
  const last = at(seenPlace + (number % ring))
  const wasWritten = last >= (seen.at(-1) as number)
  if (!wasWritten && last > (seen[0] as number)) faults.push(`it saw ${last} between ${seen.join(', ')}`)
  for (const [step, one] of seen.entries())
    if (step > 0 && one < (seen[step - 1] as number))
      faults.push(`it saw ${one} after ${seen[step - 1]}, at number ${number}`)
  const mostSeen = Math.max(last, ...seen)
  if (mostSeen > newestOfNext)
    faults.push(`it saw ${mostSeen} of the next worker, whose newest is ${newestOfNext}`)
  return faults
}
