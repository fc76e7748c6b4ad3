import { notFound } from 'varve'
import { aes } from './aes.js'
import { compression } from './compression.js'
import type { LabFunction } from './function-types.js'
import { hello } from './hello.js'
import { html } from './html.js'
import { image } from './image.js'
import { json } from './json.js'
import { matmul } from './matmul.js'
import { mmapTouch } from './mmap-touch.js'
import { nodeRender } from './node-render.js'
import { readList } from './read-list.js'

/**
 * Work of the kinds that FaaSnap (Ao et al., EuroSys 2022) and REAP (Ustiugov et al., ASPLOS 2021) measured
 * with; the code is our own, and inputs are sized for emulated guests.
 */
export const labFunctions: readonly LabFunction[] = [
  hello,
  json,
  compression,
  aes,
  html,
  image,
  matmul,
  readList,
  mmapTouch,
  nodeRender,
]

/** One of `labFunctions` by its name. Errors: NOT_FOUND. */
export function labFunction(name: string): LabFunction {
  const found = labFunctions.find((it) => it.name === name)
  if (found !== undefined) return found
  throw notFound('lab function', `there is no lab function ${JSON.stringify(name)}`, {
    remedy: `take one of ${labFunctions.map((it) => it.name).join(', ')}`,
  })
}
