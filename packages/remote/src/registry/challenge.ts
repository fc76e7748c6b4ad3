/** What a registry asks for in `WWW-Authenticate`. */
export type Challenge =
  | { readonly scheme: 'basic' }
  | { readonly scheme: 'bearer'; readonly realm: string; readonly service: string; readonly scope: string }

/** RFC 9110, 11.6.1: one parameter, as a token or a quoted string. */
const parameter = /\s*,?\s*([A-Za-z_]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))/y

/**
 * The first challenge that Varve can meet; undefined if there is none. Headers are bounded when they are
 * received.
 */
export function challengeOf(header: string): Challenge | undefined {
  for (const [, scheme, start] of schemes(header)) {
    if (scheme === 'basic') return { scheme }
    if (scheme !== 'bearer') continue
    const values: Record<string, string> = {}
    parameter.lastIndex = start
    for (let found = parameter.exec(header); found !== null; found = parameter.exec(header))
      values[(found[1] as string).toLowerCase()] = found[2]?.replace(/\\(.)/g, '$1') ?? found[3] ?? ''
    const { realm = '', service = '', scope = '' } = values
    return { scheme, realm, service, scope }
  }
  return undefined
}

/** Each scheme's name, and where its parameters begin. */
function schemes(header: string): (readonly [unknown, string, number])[] {
  return [...header.matchAll(/(?:^|,)\s*(basic|bearer)(?:\s+|$)/gi)].map(
    (found) => [found, (found[1] as string).toLowerCase(), found.index + found[0].length] as const,
  )
}
