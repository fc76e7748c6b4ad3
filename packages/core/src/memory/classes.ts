import { has, type PageSet } from './page-set.js'
import { clip, complement, minus, union } from './page-set-algebra.js'

/**
 * How a page was used, which decides how it is restored: `written` - copied privately beforehand;
 * `read-only` - shared and mapped beforehand; `zero` - anonymous memory, no file behind it; `cold` -
 * left to be fetched when touched.
 */
export type PageClass = 'zero' | 'cold' | 'read-only' | 'written'

/** All classes, from the least used to the most used. */
export const pageClasses = ['zero', 'cold', 'read-only', 'written'] as const satisfies readonly PageClass[]

/** A partition of [0, pages): each page is in exactly one of the four sets. */
export interface PageClasses {
  /** Pages of the image. */
  readonly pages: number
  /** The pages of each class. */
  readonly sets: Readonly<Record<PageClass, PageSet>>
}

/** What is known of the pages of an image. */
export interface ClassifyInput {
  /** Pages touched at all. */
  readonly present: PageSet
  /** Pages written. One that `present` missed (a recorder may) is still written. */
  readonly written: PageSet
  /** Pages that are zero in the image. */
  readonly zero: PageSet
  /** Pages of the image; the sets are cut off there. */
  readonly pages: number
}

/**
 * read-only = present − written, always. `zero` holds only untouched zero pages: a zero page that was read is
 * read-only, one that was written is written.
 */
export function classify({ present, written, zero, pages }: ClassifyInput): PageClasses {
  const inside = (set: PageSet): PageSet => clip(set, 0, pages)
  const writtenPages = inside(written)
  const presentPages = inside(present)
  const readOnly = minus(presentPages, writtenPages)
  const touched = union(presentPages, writtenPages)
  const untouchedZero = minus(inside(zero), touched)
  return {
    pages,
    sets: {
      written: writtenPages,
      'read-only': readOnly,
      zero: untouchedZero,
      cold: complement(union(touched, untouchedZero), pages),
    },
  }
}

/** Class of one page; a page behind the image is cold. */
export function classOf(classes: PageClasses, page: number): PageClass {
  return pageClasses.find((name) => has(classes.sets[name], page)) ?? 'cold'
}

/** How many pages are in each class; they add up to `classes.pages`. */
export function countClasses(classes: PageClasses): Record<PageClass, number> {
  const { sets } = classes
  return {
    zero: sets.zero.pages,
    cold: sets.cold.pages,
    'read-only': sets['read-only'].pages,
    written: sets.written.pages,
  }
}
