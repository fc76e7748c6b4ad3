// What the pictures of README share: a light ground of their own, so that they look the same on a dark page.
const escapeXml = (text: string): string => text.replace(/[&<>"]/g, (it) => `&#${it.charCodeAt(0)};`)

export interface TextLook {
  readonly size?: number
  readonly colour?: string
  readonly anchor?: 'start' | 'middle' | 'end'
  readonly bold?: boolean
}

export function text(
  x: number,
  y: number,
  content: string,
  { size = 13, colour = '#24313a', anchor = 'start', bold = false }: TextLook = {},
): string {
  const weight = bold ? ' font-weight="600"' : ''
  return `<text x="${x}" y="${y}" font-size="${size}" fill="${colour}" text-anchor="${anchor}"${weight}>${escapeXml(content)}</text>`
}

/** The title is what a screen reader says. */
export function svg(width: number, height: number, title: string, body: readonly string[]): string {
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" font-family="system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif">
<title>${escapeXml(title)}</title>
<rect width="${width}" height="${height}" rx="8" fill="#fbfaf7"/>
${body.join('\n')}
</svg>
`
}
