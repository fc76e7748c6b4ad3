// What rows of bench:restore come to.

/** Nearest rank: the smallest value that at least the share of values are not above. */
export function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]
}

const groupBy = (rows, key) => {
  const groups = new Map()
  for (const row of rows) groups.set(key(row), [...(groups.get(key(row)) ?? []), row])
  return groups
}
const tenths = (value) => (value === undefined ? undefined : Math.round(value * 10) / 10)

/**
 * Overhead of a row: its request to the last page, less the same pass in a warm VM (its floor): the median of all contenders in the
 * same place and cache state. Cold and warm are measured one after the other, between which a machine's speed can change.
 */
export function withOverhead(rows) {
  const floorOf = (row) => `${placeOf(row)}|${row.cache}`
  const floors = new Map()
  for (const [key, group] of groupBy(
    rows.filter((row) => row.warmPassMs !== undefined),
    floorOf,
  ))
    floors.set(
      key,
      quantile(
        group.map((row) => row.warmPassMs),
        0.5,
      ),
    )
  return rows.map((row) =>
    row.warmPassMs === undefined ? row : { ...row, overheadMs: row.lastMs - floors.get(floorOf(row)) },
  )
}

export function placeOf({ memoryMib, setMib, clones, depth }) {
  const more = [...(clones ? [`${clones} at once`] : []), ...(depth ? [`${depth} layers`] : [])]
  return [`${memoryMib} MiB`, `set ${setMib} MiB`, ...more].join(', ')
}

/** Vanilla's request to the last page, by place, cache state and round. */
function vanillaOf(rows) {
  const key = (row) => `${placeOf(row)}|${row.cache}|${row.round}`
  const last = new Map(
    rows.filter(({ contender }) => contender === 'vanilla').map((row) => [key(row), row.lastMs]),
  )
  return (row) => last.get(key(row))
}

/**
 * A line for each contender in each place and cache state: medians, the 99th percentile to the last page, and the median of each
 * round's ratio to vanilla in the same round and cache state.
 */
export function summarise(rows) {
  const vanilla = vanillaOf(rows)
  const lines = [
    ...groupBy(withOverhead(rows), (row) => `${placeOf(row)}|${row.cache}|${row.contender}`).values(),
  ]
  return lines.map((group) => {
    const [{ cache, contender }] = group
    const median = (field) => {
      const values = group.map((row) => row[field]).filter((value) => value !== undefined)
      return values.length === 0 ? undefined : tenths(quantile(values, 0.5))
    }
    return {
      place: placeOf(group[0]),
      cache,
      contender,
      rounds: group.length,
      firstMs: median('firstMs'),
      lastMs: median('lastMs'),
      lastP99Ms: tenths(
        quantile(
          group.map((row) => row.lastMs),
          0.99,
        ),
      ),
      overheadMs: median('overheadMs'),
      ofVanilla: ratio(group, vanilla),
      rssMib: median('rssMib'),
      readMib: median('readMib'),
    }
  })
}

function ratio(group, vanilla) {
  const ratios = group
    .filter((row) => row.warmPassMs !== undefined && vanilla(row) !== undefined)
    .map((row) => row.lastMs / vanilla(row))
  return ratios.length === 0 ? undefined : quantile(ratios, 0.5)
}

/** Against vanilla with everything in the page cache: the ideal of the literature. The fastest first. */
export function table(rows) {
  const lines = summarise(rows).sort((a, b) => a.cache.localeCompare(b.cache) || a.lastMs - b.lastMs)
  const out = []
  for (const [place, group] of groupBy(lines, (line) => line.place)) {
    const ideal = group.find(
      ({ cache, contender }) => cache === 'warm' && contender === 'vanilla',
    )?.overheadMs
    out.push(
      `### ${place}`,
      '',
      '| cache | contender | first answer | last page | p99 | of vanilla | overhead | of vanilla cached | RSS MiB | read MiB |',
      '|---|---|---:|---:|---:|---:|---:|---:|---:|---:|',
      ...group.map((it) =>
        [
          '',
          it.cache,
          it.contender,
          it.firstMs ?? '',
          it.lastMs,
          it.lastP99Ms,
          it.ofVanilla === undefined ? '' : `${it.ofVanilla.toFixed(2)}×`,
          it.overheadMs ?? '',
          ideal === undefined || it.overheadMs === undefined ? '' : `${(it.overheadMs / ideal).toFixed(2)}×`,
          it.rssMib ?? '',
          it.readMib ?? '',
          '',
        ]
          .join(' | ')
          .trim(),
      ),
      '',
    )
  }
  return out.join('\n')
}
