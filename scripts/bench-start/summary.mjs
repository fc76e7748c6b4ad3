/** A table of medians with the fastest and the slowest round, and each median against an empty Node's. */
export function summary(rows) {
  const nodes = [...new Set(rows.map(({ node }) => node))]
  return nodes
    .map((node) =>
      tableOf(
        node,
        rows.filter((row) => row.node === node),
      ),
    )
    .join('\n\n')
}

function tableOf(node, rows) {
  const sides = [...new Set(rows.map(({ side }) => side))]
  const cases = [...new Set(rows.map((row) => row.case))]
  const cell = (name, side) => {
    const own = rows.filter((row) => row.case === name && row.side === side)
    const times = spread(own.map(({ ms }) => ms))
    const empty = spread(
      rows.filter((row) => row.case === 'node -e 0' && row.side === side).map(({ ms }) => ms),
    )
    const inner = own.some(({ importMs }) => importMs !== undefined)
      ? `; import alone ${shown(spread(own.map(({ importMs }) => importMs)))}`
      : ''
    return `${shown(times)}, ${(times.median / empty.median).toFixed(2)}×${inner}`
  }
  return [
    `Node ${node.slice(1)}, ms: median [least–most], and times an empty Node`,
    '',
    `| case | ${sides.join(' | ')} |`,
    `|---|${sides.map(() => '---|').join('')}`,
    ...cases.map((name) => `| ${name} | ${sides.map((side) => cell(name, side)).join(' | ')} |`),
  ].join('\n')
}

const shown = ({ median, least, most }) => `${median.toFixed(0)} [${least.toFixed(0)}–${most.toFixed(0)}]`

function spread(values) {
  const sorted = values.toSorted((a, b) => a - b)
  return { median: sorted[Math.floor(sorted.length / 2)], least: sorted[0], most: sorted.at(-1) }
}
