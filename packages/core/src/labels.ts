import { VarveError } from './errors.js'

/**
 * What a user notes about a machine or a snapshot, to find it again. At most 32. A key is 1–63 of a–z, 0–9
 * and `. _ / -`, and begins and ends with a letter or digit. A value is 0–255 printable ASCII characters.
 */
export type Labels = Readonly<Record<string, string>>

/** A record of a machine is a page or two, and a table must stay readable. */
export const maxLabels = 32
const keyPattern = /^[a-z0-9](?:[a-z0-9._/-]{0,61}[a-z0-9])?$/
const valuePattern = /^[\x20-\x7e]{0,255}$/

/** What is wrong with labels that any program may have written; undefined if they are right. */
export function labelsProblem(labels: unknown): string | undefined {
  if (typeof labels !== 'object' || labels === null || Array.isArray(labels))
    return 'labels are not an object'
  const entries = Object.entries(labels)
  if (entries.length > maxLabels) return `there are ${entries.length} labels, and ${maxLabels} is the most`
  for (const [key, value] of entries) {
    if (!keyPattern.test(key))
      return `label key ${JSON.stringify(key.slice(0, 80))} is not 1–63 of a–z, 0–9, '.', '_', '/', '-', with a letter or digit at both ends`
    if (typeof value !== 'string' || !valuePattern.test(value))
      return `the value of label ${key} is not 0–255 printable ASCII characters`
  }
  return undefined
}

/** INVALID_ARGUMENT, with the key, if they are not within their bounds. */
export function assertLabels(labels: Labels): Labels {
  const problem = labelsProblem(labels)
  if (problem !== undefined)
    throw new VarveError('INVALID_ARGUMENT', problem, { details: { field: 'labels' } })
  return labels
}

/** Whether there is each of the labels that are wanted, with the same value. */
export const hasLabels = (labels: Labels, wanted: Labels): boolean =>
  Object.entries(wanted).every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value)
