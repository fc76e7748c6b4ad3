import type { Command } from './command.js'

/** An option or an argument as the help of a verb tells of it. */
export interface Described {
  /** `-n, --count N`, or `REF`. */
  readonly term: string
  /** `--count`; null for an argument. */
  readonly option: string | null
  /** `N`, `flat|packed`, or a value that has a line of its own; empty if there is none. */
  readonly value: string
  readonly text: string
}

/** The help of a verb in its parts: man pages and completion are made of them. */
export interface HelpParts {
  /** Command lines without `usage: `. */
  readonly usage: readonly string[]
  readonly described: readonly Described[]
  readonly paragraphs: readonly string[]
  readonly examples: readonly string[]
}

const term = /^ {2}(\S.*?)(?: {2,}(\S.*))?$/
const continued = /^ {10,}\S/

/**
 * Takes the text of `varve help VERB` apart. Its form: lines that begin with two spaces describe an option or
 * argument, lines with more spaces go on with it; `Examples:` begins the last part; all else is paragraphs.
 */
export function helpParts({ usage, help }: Pick<Command, 'usage' | 'help'>): HelpParts {
  const [before = '', examples = ''] = help.split(/^Examples?:\n/m)
  const described: Described[] = []
  const paragraphs: string[] = []
  let paragraph: string[] = []
  const endParagraph = () => {
    if (paragraph.length > 0) paragraphs.push(paragraph.join(' '))
    paragraph = []
  }
  for (const line of before.split('\n')) {
    const last = described.at(-1)
    const found = term.exec(line)
    if (continued.test(line) && last !== undefined && paragraph.length === 0)
      described[described.length - 1] = { ...last, text: `${last.text} ${line.trim()}`.trim() }
    else if (found !== null) described.push(...describedBy(found[1] ?? '', found[2] ?? ''))
    else if (line.trim() === '') endParagraph()
    else paragraph.push(line.trim())
  }
  endParagraph()
  return {
    usage: usage
      .replace(/^usage: /, '')
      .split(/\n| \| (?=varve )/)
      .map((line) => line.trim()),
    described,
    paragraphs,
    examples: examples.split('\n').flatMap((line) => (line.trim() === '' ? [] : [line.trim()])),
  }
}

/** `--a X, --b Y` describes two options; `-n, --count N` is one. */
function describedBy(text: string, about: string): Described[] {
  const terms = text.split(/, (?=--)/).reduce<string[]>((all, part) => {
    const before = all.at(-1)
    if (before !== undefined && /^-\w$/.test(before)) all[all.length - 1] = `${before}, ${part}`
    else all.push(part)
    return all
  }, [])
  return terms.map((one) => {
    const [, option = null, value = ''] = /(?:^|, )(--[\w-]+)(?: (.+))?$/.exec(one) ?? []
    return { term: one, option, value, text: about }
  })
}
