import { type Explanation, type OwnedPages, type OwnerPart, ownerParts } from '@varve/guest'
import type { FactorValue } from './experiment.js'

/** Who has the pages of a set: docs/formats/experiment-rows-v1.md. */
export interface ExplanationRow {
  readonly kind: 'explanation'
  /** The set's. */
  readonly name: string
  readonly about: Readonly<Record<string, FactorValue>>
  readonly explanation: Explanation
}

export const explanationLimits = { owners: 4096, processes: 4096, text: 4096 } as const

/** More owners than a reader looks at; the others are added up by their part. */
const keptOwners = 256
/** Of one owner: a library may be mapped by all of them. */
const keptProcesses = 64

/** The smallest owners are kept as one for each part. A guest decides how many it has. */
export function explanationRow(
  name: string,
  about: ExplanationRow['about'],
  explanation: Explanation,
): ExplanationRow {
  const kept = explanation.owners.slice(0, keptOwners)
  const others = new Map<OwnerPart, OwnedPages>()
  for (const { part, pages, writtenPages } of explanation.owners.slice(keptOwners)) {
    const sum = others.get(part)
    others.set(part, {
      part,
      name: '(smaller ones)',
      processes: [],
      pages: pages + (sum?.pages ?? 0),
      writtenPages: writtenPages + (sum?.writtenPages ?? 0),
    })
  }
  const owners = [...kept, ...others.values()]
    .map((it) => ({ ...it, processes: it.processes.slice(0, keptProcesses) }))
    .sort((a, b) => b.pages - a.pages)
  return { kind: 'explanation', name, about, explanation: { ...explanation, owners } }
}

/** Checks one that may come from anywhere. `invalid` makes the error to throw. */
export function checkedExplanation(value: unknown, invalid: (detail: string) => Error): Explanation {
  const members = (it: unknown, what: string): Readonly<Record<string, unknown>> => {
    if (typeof it !== 'object' || it === null || Array.isArray(it)) throw invalid(`${what} is not an object`)
    return it as Readonly<Record<string, unknown>>
  }
  const whole = (it: unknown, what: string): number => {
    if (Number.isSafeInteger(it) && (it as number) >= 0) return it as number
    throw invalid(`${what} is not a whole number`)
  }
  const text = (it: unknown, what: string): string => {
    if (typeof it === 'string' && it.length <= explanationLimits.text) return it
    throw invalid(`${what} is not a text of at most ${explanationLimits.text} characters`)
  }
  const list = (it: unknown, most: number, what: string): readonly unknown[] => {
    if (Array.isArray(it) && it.length <= most) return it
    throw invalid(`${what} is not a list of at most ${most}`)
  }

  const of = members(value, 'explanation')
  const owners = list(of.owners, explanationLimits.owners, 'explanation.owners').map((it): OwnedPages => {
    const owner = members(it, 'an owner')
    if (!ownerParts.includes(owner.part as OwnerPart)) throw invalid('the part of an owner is none')
    return {
      part: owner.part as OwnerPart,
      name: text(owner.name, 'the name of an owner'),
      processes: list(owner.processes, explanationLimits.processes, 'processes').map((process) => {
        const { pid, name } = members(process, 'a process')
        return { pid: whole(pid, 'a pid'), name: text(name, 'the name of a process') }
      }),
      pages: whole(owner.pages, 'the pages of an owner'),
      writtenPages: whole(owner.writtenPages, 'the written pages of an owner'),
    }
  })
  if (typeof of.hasFrameFlags !== 'boolean') throw invalid('hasFrameFlags is not true or false')
  const sum = (count: (owner: OwnedPages) => number) => owners.reduce((all, it) => all + count(it), 0)
  const sums = {
    pages: sum(({ pages }) => pages),
    writtenPages: sum(({ writtenPages }) => writtenPages),
    unexplainedPages: sum(({ part, pages }) => (part === 'unexplained' ? pages : 0)),
  }
  for (const [name, is] of Object.entries(sums))
    if (of[name] !== is) throw invalid(`explanation.${name} is not ${is}, to which its owners add up`)
  return { ...sums, owners, skipped: whole(of.skipped, 'skipped'), hasFrameFlags: of.hasFrameFlags }
}
