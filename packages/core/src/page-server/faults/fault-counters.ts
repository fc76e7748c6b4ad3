import { counterPlaces } from './counter-places.js'

/** Places in the shared counters; Float64Array, so that any thread can read them. */
export const counterNames = [
  'faults',
  'copiedPages',
  'zeroCalls',
  'existing',
  'retries',
  'removedPages',
  'firstWrites',
] as const
export type CounterName = (typeof counterNames)[number]

/** The place of each in the counters. */
export const counter = counterPlaces(counterNames)
