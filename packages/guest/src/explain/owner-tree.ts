import type { Explanation, OwnedPages, OwnerPart } from './explanation.js'

/** Pages of a set that have something in common, and what they consist of. */
export interface OwnerBox {
  readonly name: string
  /** What its largest owner's pages hold; undefined for the whole set. */
  readonly part: OwnerPart | undefined
  readonly pages: number
  /** The largest first. Owners without a name of their own are in none of them. */
  readonly inner: readonly OwnerBox[]
}

/**
 * An explanation as flame graphs have stacks: the set, which consists of processes and of what belongs to
 * none, these of kinds of memory, these of names.
 */
export function ownerTree({ pages, owners }: Explanation, title: string): OwnerBox {
  return {
    name: title,
    part: undefined,
    pages,
    inner: nest(owners, [groupOf, ({ part }) => part, ({ name }) => name]),
  }
}

/** Who has the pages: one process, several, or what is named by its part. */
function groupOf({ part, processes }: OwnedPages): string {
  const [only, ...others] = processes
  if (only === undefined) return part === 'file' ? 'page cache' : part
  return others.length === 0 ? `${only.name} (${only.pid})` : 'several processes'
}

function nest(
  owners: readonly OwnedPages[],
  [level, ...levels]: readonly ((owner: OwnedPages) => string)[],
): OwnerBox[] {
  if (level === undefined) return []
  const groups = new Map<string, OwnedPages[]>()
  for (const owner of owners) {
    const group = groups.get(level(owner))
    if (group === undefined) groups.set(level(owner), [owner])
    else group.push(owner)
  }
  return [...groups]
    .filter(([name]) => name !== '')
    .map(([name, all]) => {
      const inner = nest(all, levels)
      const [only, ...others] = inner
      return {
        name,
        part: (all[0] as OwnedPages).part,
        pages: all.reduce((sum, { pages }) => sum + pages, 0),
        // What has no process is a group by its part: that part again would be a row that says nothing.
        inner: only?.name === name && others.length === 0 ? only.inner : inner,
      }
    })
    .sort((a, b) => b.pages - a.pages)
}

/** What a box says in full. `total`: pages of the set. */
export const ownerBoxText = ({ name, pages }: Pick<OwnerBox, 'name' | 'pages'>, total: number): string =>
  `${name}: ${pages.toLocaleString('en-US')} pages, ${((100 * pages) / Math.max(1, total)).toFixed(1)} %`
