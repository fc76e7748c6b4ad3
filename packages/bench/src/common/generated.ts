/**
 * Parts of a page that a program writes stand between markers, each alone on its line:
 *
 *     <!-- generated: NAME -->
 *     …
 *     <!-- end: NAME -->
 *
 * What people wrote around them stays.
 */
export const generated = (name: string, text: string): string =>
  `<!-- generated: ${name} -->\n${text.trim()}\n<!-- end: ${name} -->`

/** The page with these parts in place of its own. A part that the page has no markers for is an error. */
export function replaceGenerated(page: string, parts: Readonly<Record<string, string>>): string {
  return Object.entries(parts).reduce((text, [name, part]) => {
    const [begin, end] = [`<!-- generated: ${name} -->\n`, `\n<!-- end: ${name} -->`]
    const from = text.indexOf(begin)
    const to = text.indexOf(end, from)
    if (from < 0 || to < 0 || text.indexOf(begin, from + 1) >= 0)
      throw new Error(`the page does not have the generated part ${name} once, between its markers`)
    return text.slice(0, from) + generated(name, part) + text.slice(to + end.length)
  }, page)
}
