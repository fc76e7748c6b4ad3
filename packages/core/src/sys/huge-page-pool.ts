import { readFileSync } from 'node:fs'

/** The huge pages of 2 MiB that the host keeps (vm.nr_hugepages). */
export interface HugePagePool {
  /** How many there can be, with those that the kernel may make when they are asked for. */
  readonly pages: number
  /** How many of them a process could get now. */
  readonly available: number
}

const directory = '/sys/kernel/mm/hugepages/hugepages-2048kB'

/** Five small reads. Without hugetlbfs in the kernel there are none. */
export function hugePagePool(): HugePagePool {
  const kept = numberIn('nr_hugepages')
  const surplus = numberIn('surplus_hugepages')
  // nr_hugepages counts those that were made on request, too.
  const more = Math.max(0, numberIn('nr_overcommit_hugepages') - surplus)
  const free = Math.max(0, numberIn('free_hugepages') - numberIn('resv_hugepages'))
  return { pages: kept + more, available: free + more }
}

function numberIn(name: string): number {
  try {
    return Number(readFileSync(`${directory}/${name}`, 'utf8'))
  } catch {
    return 0
  }
}
