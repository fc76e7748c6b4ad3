import { VarveError } from 'varve'

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 }

/** `500ms`, `30s`, `5m`, `2h`; without a unit: seconds. In milliseconds. USAGE for anything else. */
export function duration(text: string, option: string): number {
  const [, number, unit = 's'] = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h)?$/.exec(text) ?? []
  if (number === undefined)
    throw new VarveError('USAGE', `--${option} ${text} is not a time like 500ms, 30s, 5m or 2h`)
  return Number(number) * (unitMs[unit] as number)
}
