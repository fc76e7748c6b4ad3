import type { Explanation } from '@varve/guest'
import { type OwnerBox, ownerBoxText, ownerTree } from '@varve/guest/testing'
import { escapeHtml } from './html.js'
import { partsByColour } from './part-colours.js'

/** Narrower boxes could neither be seen nor hit: together they are one. */
const leastShare = 0.005

/**
 * A picture of an explanation, as flame graphs draw stacks: nested lists, whose boxes are as wide as their
 * share of the set. A box may be too narrow for its text: the text is its tooltip, and is shown in full below
 * the picture while the box has the focus, by key or by touch.
 */
export function ownerFlame(explanation: Explanation, title: string): string {
  const total = Math.max(1, explanation.pages)
  const root = withoutSmall(ownerTree(explanation, title), leastShare * total)
  return `<figure class="flame" aria-label="${escapeHtml(`owners of the pages of ${title}`)}">${list([root], total, total)}</figure>`
}

/** `pages`: of the box that the list belongs to. */
function list(boxes: readonly OwnerBox[], pages: number, total: number): string {
  if (boxes.length === 0) return ''
  const items = boxes.map((box) => {
    const text = escapeHtml(ownerBoxText(box, total))
    const colour = box.part === undefined ? '' : ` class="o${partsByColour.indexOf(box.part)}"`
    const width = ((100 * box.pages) / Math.max(1, pages)).toFixed(3)
    return `<li style="width:${width}%"><span tabindex="0" title="${text}"${colour}>${text}</span>${list(box.inner, box.pages, total)}</li>`
  })
  return `<ul role="list">${items.join('')}</ul>`
}

function withoutSmall(box: OwnerBox, leastPages: number): OwnerBox {
  const large = box.inner.filter(({ pages }) => pages >= leastPages)
  const small = box.inner.filter(({ pages }) => pages < leastPages)
  const pages = small.reduce((sum, it) => sum + it.pages, 0)
  const others: OwnerBox[] =
    pages < leastPages ? [] : [{ name: `${small.length} smaller`, part: undefined, pages, inner: [] }]
  return { ...box, inner: [...large.map((it) => withoutSmall(it, leastPages)), ...others] }
}
