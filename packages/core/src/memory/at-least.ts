import { VarveError } from '../errors.js'
import {
  bitmapFor,
  emptyBitmap,
  mostPagesPerRun,
  type PageBitmap,
  pageSetFromBitmap,
  setBits,
} from './page-bitmap.js'
import { emptyPageSet, type PageSet } from './page-set.js'
import { RunBuilder } from './run-builder.js'

/**
 * The pages that are in `k` of the sets or more. With k = 1 their union, with k =
 * sets.length their intersection.
 */
export function atLeast(k: number, sets: readonly PageSet[]): PageSet {
  if (!Number.isInteger(k) || k < 1)
    throw new VarveError('INVALID_ARGUMENT', `at least ${k} sets: a whole number from 1 on is needed`)
  const filled = sets.filter(({ pages }) => pages > 0)
  if (k > filled.length) return emptyPageSet
  // The other way sorts all runs, so bitmaps pay for fewer runs here.
  const bitmap = bitmapFor(filled, mostPagesPerRun)
  return bitmap === undefined ? atLeastOfRuns(k, filled) : atLeastOfBits(k, filled, bitmap)
}

/** Where runs begin and end, each ascending: between two of these places a page's count does not change. */
function atLeastOfRuns(k: number, sets: readonly PageSet[]): PageSet {
  const runs = sets.reduce((sum, { starts }) => sum + starts.length, 0)
  const begins = new Uint32Array(runs)
  const ends = new Uint32Array(runs)
  let at = 0
  for (const { starts, counts } of sets) {
    begins.set(starts, at)
    for (let i = 0; i < starts.length; i++) ends[at + i] = (starts[i] as number) + (counts[i] as number)
    at += starts.length
  }
  begins.sort()
  ends.sort()
  const out = new RunBuilder()
  let begun = 0
  let since = 0
  for (let ended = 0; ended < runs; ended++) {
    const end = ends[ended] as number
    for (; begun < runs && (begins[begun] as number) <= end; begun++)
      if (begun + 1 - ended === k) since = begins[begun] as number
    if (begun - ended === k) out.add(since, end - since)
  }
  return out.finish()
}

/**
 * Counts 32 pages at a time: bit b of planes[0], planes[1], … is the count of page b in binary, and a set is
 * added with the carry of each plane going into the next.
 */
function atLeastOfBits(k: number, sets: readonly PageSet[], { first, words }: PageBitmap): PageSet {
  const blank = () => emptyBitmap(first, words.length * 32)
  const planes = Array.from({ length: 32 - Math.clz32(sets.length) }, blank)
  for (const set of sets) {
    const added = blank()
    setBits(added, set)
    for (const plane of planes) addWithCarry(plane.words, added.words)
  }
  return pageSetFromBitmap({ first, words: atLeastOfPlanes(k, planes, words) })
}

/** `carry` holds what is added, and afterwards what is carried on. */
function addWithCarry(plane: Int32Array, carry: Int32Array): void {
  for (let i = 0; i < plane.length; i++) {
    const before = plane[i] as number
    const add = carry[i] as number
    plane[i] = before ^ add
    carry[i] = before & add
  }
}

/** Compares the counts with k from the highest binary digit down. */
function atLeastOfPlanes(k: number, planes: readonly PageBitmap[], greater: Int32Array): Int32Array {
  const equal = new Int32Array(greater.length).fill(-1)
  for (let digit = planes.length - 1; digit >= 0; digit--) {
    const plane = (planes[digit] as PageBitmap).words
    const isSet = ((k >>> digit) & 1) === 1
    for (let i = 0; i < plane.length; i++) {
      const same = equal[i] as number
      const bits = plane[i] as number
      if (!isSet) greater[i] = (greater[i] as number) | (same & bits)
      equal[i] = same & (isSet ? bits : ~bits)
    }
  }
  for (let i = 0; i < greater.length; i++) greater[i] = (greater[i] as number) | (equal[i] as number)
  return greater
}
