/** The place of each name in an array of counters that has them in this order. */
export function counterPlaces<Name extends string>(names: readonly Name[]): Readonly<Record<Name, number>> {
  return Object.fromEntries(names.map((name, index) => [name, index])) as Record<Name, number>
}
