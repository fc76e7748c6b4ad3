import { closeSync, openSync, writeFileSync } from 'node:fs'
import { residentPages } from 'varve/testing'
import { thousandths } from '../common/numbers.js'

const wordsPerPage = 512

/** Page n holds n in all its words. */
export function makeLayer(path: string, pages: number): void {
  const words = new BigUint64Array(pages * wordsPerPage)
  for (let page = 0; page < pages; page++)
    words.fill(BigInt(page), page * wordsPerPage, (page + 1) * wordsPerPage)
  writeFileSync(path, words)
}

/** The share of a file's pages that are in the page cache. */
export function residentShare(path: string): number {
  const fd = openSync(path, 'r')
  try {
    const pages = residentPages(fd)
    return thousandths(pages.reduce((sum, byte) => sum + (byte & 1), 0) / pages.length)
  } finally {
    closeSync(fd)
  }
}
