import { closeSync, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import { dataExtents } from './extents.js'
import { copyFileRange } from './reflink.js'

const chunkBytes = 4 * 1024 * 1024

/**
 * Copies a file extent by extent into a new one (0600), holes as holes and zero data as zero data: in a Diff the two
 * mean different things. The usual copies turn the one into the other.
 */
export function copyWithHoles(from: string, to: string): void {
  const source = openSync(from, 'r')
  try {
    const target = openSync(to, 'wx', 0o600)
    try {
      const { size } = fstatSync(source)
      ftruncateSync(target, size)
      for (const { startBytes, endBytes } of [...dataExtents(source, size)])
        copyExtent(source, target, startBytes, endBytes)
    } finally {
      closeSync(target)
    }
  } finally {
    closeSync(source)
  }
}

function copyExtent(source: number, target: number, startBytes: number, endBytes: number): void {
  let at = startBytes + (copyFileRange(source, startBytes, target, startBytes, endBytes - startBytes) ?? 0)
  if (at === endBytes) return
  const buffer = Buffer.allocUnsafe(Math.min(chunkBytes, endBytes - at))
  while (at < endBytes) {
    const read = readSync(source, buffer, 0, Math.min(buffer.length, endBytes - at), at)
    if (read === 0) throw new Error(`the file shrank below ${endBytes} bytes while it was copied`)
    for (let done = 0; done < read; ) done += writeSync(target, buffer, done, read - done, at + done)
    at += read
  }
}
