/**
 * An explanation (`Explanation` of @varve/guest) in few numbers, for rows of results: its pages by process
 * and kind. `who`: the process; `several` if several map the pages; empty for what no process maps.
 */
export function ownerSums({ pages, writtenPages, unexplainedPages, owners }) {
  const by = new Map()
  for (const { part, name, processes, pages: its, writtenPages: written } of owners) {
    const [{ name: who, pid } = { name: '', pid: 0 }] =
      processes.length > 1 ? [{ name: 'several', pid: 0 }] : processes
    const what = part === 'kernel' ? `kernel: ${name}` : part
    const key = `${pid} ${who} ${what}`
    const sum = by.get(key) ?? { who, pid, what, pages: 0, writtenPages: 0 }
    by.set(key, { ...sum, pages: sum.pages + its, writtenPages: sum.writtenPages + written })
  }
  return { pages, writtenPages, unexplainedPages, owners: [...by.values()].sort((a, b) => b.pages - a.pages) }
}
