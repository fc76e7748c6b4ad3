/**
 * How much each gauge may rise over the second half of a phase. A count may differ by one, because samples
 * are momentary.
 */
function allowedRise(name, mean) {
  // Node's heap and malloc breathe by some MiB; a leak of 2 KiB a restore shows within 5,000.
  if (name.endsWith('rssMib')) return Math.max(8, mean * 0.1)
  return 1
}

/** The rise of a straight line through the points (least squares), from the first to the last of them. */
export function riseOf(points) {
  const [meanX, meanY] = [0, 1].map((axis) => points.reduce((sum, it) => sum + it[axis], 0) / points.length)
  let [above, below] = [0, 0]
  for (const [x, y] of points) {
    above += (x - meanX) * (y - meanY)
    below += (x - meanX) ** 2
  }
  return below === 0 ? 0 : (above / below) * (points.at(-1)[0] - points[0][0])
}

/** For each gauge: how it began, stood at half and ended, and whether its second half is flat. */
export function judge(samples) {
  const half = samples.slice(Math.floor(samples.length / 2))
  const numeric = Object.keys(samples[0]).filter(
    (name) => typeof samples[0][name] === 'number' && name !== 'done',
  )
  return numeric.map((name) => {
    const points = half.map((it) => [it.done, it[name]])
    const mean = points.reduce((sum, [, value]) => sum + value, 0) / points.length
    const [rise, allowed] = [riseOf(points), allowedRise(name, mean)]
    return {
      name,
      first: samples[0][name],
      half: half[0][name],
      last: samples.at(-1)[name],
      rise: Math.round(rise * 100) / 100,
      allowed: Math.round(allowed * 100) / 100,
      flat: rise <= allowed,
    }
  })
}
