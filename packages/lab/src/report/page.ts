import { escapeHtml } from './html.js'
import { reportCss } from './style.js'

/**
 * One self-contained HTML file: no script, nothing from elsewhere (its own policy forbids it), light and
 * dark, for any width. Empty sections are left out.
 */
export function page(title: string, sections: readonly string[]): string {
  const policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Varve: ${escapeHtml(title)}</title>
<style>${reportCss}</style></head><body><main>
${sections.filter((it) => it !== '').join('\n')}
</main></body></html>
`
}
