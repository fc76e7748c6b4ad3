/** What a process does to a store or a frame cache, to be killed at it. */
export const operations = [
  'create',
  'capture a base',
  'capture a child',
  'move a tag',
  'remove a snapshot',
  'squash',
  'pack',
  'flatten',
  'gc',
  'export',
  'import',
  'fill a frame cache',
  'give back a cached blob',
] as const

export type Operation = (typeof operations)[number]

export const isOperation = (name: string | undefined): name is Operation =>
  operations.some((it) => it === name)
