import { RunBuilder } from 'varve/testing'
import type { PageSet } from 'varve/working-sets'

const start = (set: PageSet, run: number) => set.starts[run] as number
const count = (set: PageSet, run: number) => set.counts[run] as number
const end = (set: PageSet, run: number) => start(set, run) + count(set, run)

/** The operations with one merge over the runs, as a reference. */
export const byRuns = {
  union(a: PageSet, b: PageSet): PageSet {
    const out = new RunBuilder(a.starts.length + b.starts.length)
    for (let i = 0, j = 0; i < a.starts.length || j < b.starts.length; )
      if (j >= b.starts.length || (i < a.starts.length && start(a, i) <= start(b, j)))
        out.add(start(a, i), count(a, i++))
      else out.add(start(b, j), count(b, j++))
    return out.finish()
  },
  intersect(a: PageSet, b: PageSet): PageSet {
    const out = new RunBuilder(Math.min(a.starts.length + b.starts.length, a.pages, b.pages))
    for (let i = 0, j = 0; i < a.starts.length && j < b.starts.length; ) {
      const from = Math.max(start(a, i), start(b, j))
      const to = Math.min(end(a, i), end(b, j))
      if (from < to) out.add(from, to - from)
      if (end(a, i) <= end(b, j)) i++
      else j++
    }
    return out.finish()
  },
  minus(a: PageSet, b: PageSet): PageSet {
    const out = new RunBuilder(Math.min(a.starts.length + b.starts.length, a.pages))
    let j = 0
    for (let i = 0; i < a.starts.length; i++) {
      let from = start(a, i)
      const to = end(a, i)
      while (j < b.starts.length && end(b, j) <= from) j++
      while (from < to && j < b.starts.length && start(b, j) < to) {
        if (start(b, j) > from) out.add(from, start(b, j) - from)
        from = end(b, j)
        if (from < to) j++
      }
      if (from < to) out.add(from, to - from)
    }
    return out.finish()
  },
} as const
