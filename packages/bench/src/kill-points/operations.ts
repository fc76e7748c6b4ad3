/** What a process does to a store, to be killed at it. */
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
] as const

export type Operation = (typeof operations)[number]

export const isOperation = (name: string | undefined): name is Operation =>
  operations.some((it) => it === name)
