// How long an operation on page sets of a 16 GiB guest (4 M pages) takes, for sets from the worst to the usual, and beside
// it the same by one merge over the runs, without bitmaps. `npm run bench:sets [-- rounds]`; build first.
// Raw rows, one for each operation and pair of sets with the times of all rounds in order, go to standard output as JSON
// lines; medians to standard error.
import {
  atLeast,
  clip,
  complement,
  equals,
  intersect,
  mergeGaps,
  minus,
  pageSetFromBytes,
  union,
  unionAll,
} from 'varve'
import { RunBuilder } from 'varve/testing'

const pages = 2 ** 22
const rounds = Number(process.argv[2] ?? 15)
/** Rounds before, in which the JIT still compiles; they are not in the rows. */
const warmUps = 3

let state = 1
const chance = () => {
  state = (Math.imul(state, 1103515245) + 12345) >>> 0
  return state / 2 ** 32
}
const make = (has) => pageSetFromBytes(Uint8Array.from({ length: pages }, (_, page) => (has(page) ? 1 : 0)))
const random = (share) => make(() => chance() < share)
/** Stretches of pages with gaps between them, both of random length: what recorders find. */
const clustered = (averageRun, averageGap) => {
  let inside = false
  return make(() => {
    if (chance() < 1 / (inside ? averageRun : averageGap)) inside = !inside
    return inside
  })
}

const every = (step, from) => make((page) => page % step === from)
const pairs = {
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

/** The operations with one merge over the runs, as a reference. */
const byRuns = {
  union(a, b) {
    const out = new RunBuilder(a.starts.length + b.starts.length)
    for (let i = 0, j = 0; i < a.starts.length || j < b.starts.length; )
      if (j >= b.starts.length || (i < a.starts.length && a.starts[i] <= b.starts[j]))
        out.add(a.starts[i], a.counts[i++])
      else out.add(b.starts[j], b.counts[j++])
    return out.finish()
  },
  intersect(a, b) {
    const out = new RunBuilder(Math.min(a.starts.length + b.starts.length, a.pages, b.pages))
    for (let i = 0, j = 0; i < a.starts.length && j < b.starts.length; ) {
      const aEnd = a.starts[i] + a.counts[i]
      const bEnd = b.starts[j] + b.counts[j]
      const start = Math.max(a.starts[i], b.starts[j])
      const end = Math.min(aEnd, bEnd)
      if (start < end) out.add(start, end - start)
      if (aEnd <= bEnd) i++
      else j++
    }
    return out.finish()
  },
  minus(a, b) {
    const out = new RunBuilder(Math.min(a.starts.length + b.starts.length, a.pages))
    let j = 0
    for (let i = 0; i < a.starts.length; i++) {
      let start = a.starts[i]
      const end = start + a.counts[i]
      while (j < b.starts.length && b.starts[j] + b.counts[j] <= start) j++
      while (start < end && j < b.starts.length && b.starts[j] < end) {
        if (b.starts[j] > start) out.add(start, b.starts[j] - start)
        start = b.starts[j] + b.counts[j]
        if (start < end) j++
      }
      if (start < end) out.add(start, end - start)
    }
    return out.finish()
  },
}

const cases = []
for (const [sets, [a, b]] of Object.entries(pairs)) {
  for (const [operation, run] of Object.entries({ union, intersect, minus })) {
    cases.push({ operation, sets, run: () => run(a, b) })
    const reference = () => byRuns[operation](a, b)
    cases.push({ operation: `${operation}, by runs`, sets, run: reference })
    if (!equals(run(a, b), reference())) throw new Error(`${operation} of ${sets} differs from the reference`)
  }
  cases.push({ operation: 'clip', sets, run: () => clip(a, 1, pages - 2) })
  cases.push({ operation: 'complement', sets, run: () => complement(a, pages) })
  cases.push({ operation: 'mergeGaps 32', sets, run: () => mergeGaps(a) })
  cases.push({ operation: 'mergeGaps 0', sets, run: () => mergeGaps(a, 0) })
  for (const [k, list] of [
    [2, [a, b, a]],
    [4, [a, b, a, b, a, b, a, b]],
  ]) {
    cases.push({ operation: `atLeast ${k} of ${list.length}`, sets, run: () => atLeast(k, list) })
    cases.push({ operation: `unionAll ${list.length}`, sets, run: () => unionAll(list) })
  }
  console.error(`${sets}: ${a.starts.length} and ${b.starts.length} runs, ${a.pages} and ${b.pages} pages`)
}

for (let round = 1 - warmUps; round <= rounds; round++)
  for (const one of cases) {
    const from = performance.now()
    one.runs = one.run().starts.length
    const ms = Number((performance.now() - from).toFixed(3))
    if (round === 1) one.ms = []
    one.ms?.push(ms)
  }
for (const { operation, sets, runs, ms } of cases)
  console.log(JSON.stringify({ operation, sets, runsOfResult: runs, ms }))

const operations = [...new Set(cases.map(({ operation }) => operation))]
console.error(`\nmedian [least–most] in ms, n = ${rounds}\n\n| sets | ${operations.join(' | ')} |`)
console.error(`|---|${operations.map(() => '---|').join('')}`)
for (const sets of Object.keys(pairs)) {
  const cells = operations.map((operation) => {
    const { ms } = cases.find((one) => one.operation === operation && one.sets === sets)
    const row = ms.toSorted((x, y) => x - y)
    const [median, least, most] = [row[Math.floor(rounds / 2)], row[0], row[rounds - 1]].map((it) =>
      it < 10 ? it.toFixed(2) : it.toFixed(0),
    )
    return `${median} [${least}–${most}]`
  })
  console.error(`| ${sets} | ${cells.join(' | ')} |`)
}
