import type { MicroConsole, TouchPattern } from '@varve/lab'
import { VarveError } from 'varve'
import type { Random } from './random.js'

/** Pages from 512 on belong to commands; the areas lie apart, so that layers interleave. */
const areaCount = 6
const areaPages = 40
const areaStart = (area: number): number => 600 + area * 500
/** 16 MiB hold 4,096 pages; the last area ends at 3,140. */
export const memoryMib = 16
/** Seeds have two digits of base 36 in a state's text. */
const mostSeed = 36 ** 2 - 1

const patternOf = (area: number): TouchPattern => ({ start: areaStart(area), count: areaPages, order: 3 })

/** The content of a guest's memory: a seed for each area, 0 for zeros. */
export type Content = readonly number[]

export const emptyContent: Content = Array.from({ length: areaCount }, () => 0)

const contentToText = (content: Content): string =>
  content.map((seed) => seed.toString(36).padStart(2, '0')).join('')

const tagForm = new RegExp(`^s([0-9a-z]{${2 * areaCount}})-`)

/** A capture's tag begins with the content of the image, so that every process can check every snapshot. */
export const contentTag = (content: Content, unique: string): string => `s${contentToText(content)}-${unique}`

/** Undefined if the tag has another form. */
export function contentOfTag(tag: string): Content | undefined {
  const text = tagForm.exec(tag)?.[1]
  if (text === undefined) return undefined
  return Array.from({ length: areaCount }, (_, area) =>
    Number.parseInt(text.slice(2 * area, 2 * area + 2), 36),
  )
}

/** Fills or zeroes one to three areas in the guest; gives the content after it. */
export async function changeContent(
  console: MicroConsole,
  content: Content,
  random: Random,
): Promise<Content> {
  const after = [...content]
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    const area = random.below(areaCount)
    const seed = random.chance(0.25) ? 0 : 1 + random.below(mostSeed)
    after[area] = seed
    if (seed === 0) await console.zero(patternOf(area))
    else await console.fill(patternOf(area), seed)
  }
  return after
}

/**
 * Has the guest check all its areas: one chosen area word by word, of the others 16 words a page.
 * GUEST_MEMORY names the first wrong page. Gives the number of pages.
 */
export async function verifyContent(
  console: MicroConsole,
  content: Content,
  random: Random,
): Promise<number> {
  const whole = random.below(areaCount)
  for (const [area, seed] of content.entries()) {
    const pattern = patternOf(area)
    if (seed > 0) await console.verify(pattern, seed, { words: area === whole ? 512 : 16 })
    else await assertZero(console, pattern, area === whole)
  }
  return areaCount * areaPages
}

/** `read` looks at the first word of each page, `sum` at all words, which takes a hundred times as long. */
async function assertZero(console: MicroConsole, pattern: TouchPattern, whole: boolean): Promise<void> {
  const { value } = await console.read(pattern)
  const sum = whole ? (await console.sum({ ...pattern, count: 8 })).value : 0n
  if (value === 0n && sum === 0n) return
  throw new VarveError(
    'GUEST_MEMORY',
    `pages ${pattern.start} to ${pattern.start + pattern.count - 1} must be zero; exclusive or of their first words 0x${value.toString(16)}`,
  )
}
