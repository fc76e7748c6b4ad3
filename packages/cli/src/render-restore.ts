import type { PagesOfImage, RestoreUsage } from 'varve'
import { pageClasses } from 'varve/working-sets'
import { count, humanBytes, humanPages } from './text.js'

/** "zero 12.0 MiB, cold 3.1 MiB" of what there is. */
const list = (parts: readonly (readonly [string, number])[]) =>
  parts
    .filter(([, pages]) => pages > 0)
    .map(([name, pages]) => `${name} ${humanPages(pages)}`)
    .join(', ')

/** By class, and by where they come from: two lines. */
export function pageLines({ byClass, byOrigin }: PagesOfImage): string[] {
  const { zero, flatFile, layers } = byOrigin
  return [
    `pages   ${list(pageClasses.map((name) => [name, byClass[name]]))}`,
    `from    ${list([
      ['zeros', zero],
      ['flat file', flatFile],
      ...layers.map((pages, layer) => [`layer ${layer}`, pages] as const),
    ])}`,
  ]
}

export function usageLines({ faults, pageServer, readBytes, prefetched }: RestoreUsage): string[] {
  const read = [
    readBytes.vmm === null ? '' : `${humanBytes(readBytes.vmm)} by the VMM`,
    readBytes.prefetch === null ? '' : `${humanBytes(readBytes.prefetch)} ahead`,
  ]
  return [
    `faults  ${faults.minor} minor, ${faults.major} major${pageServer === null ? '' : `; ${pageServer.faults} answered by the page server, with ${count(pageServer.copiedPages, 'page')}`}`,
    `read    ${read.filter(Boolean).join(', ') || 'not to be seen by this user'}`,
    ...(prefetched === null
      ? []
      : [`set     ${count(prefetched.pages, 'page')} with data, ${unused(prefetched.unused)} unused`]),
  ]
}

function unused({ atLeast, atMost }: { readonly atLeast: number; readonly atMost: number }): string {
  return atLeast === atMost ? `${atLeast} of them` : `${atLeast} to ${atMost} of them`
}
