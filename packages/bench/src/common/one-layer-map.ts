import type { ExtentMap } from 'varve/layers'

/** The image whose pages are those of one layer, in their order. */
export const oneLayerMap = (pages: number): ExtentMap => ({
  pages,
  starts: Uint32Array.of(0),
  counts: Uint32Array.of(pages),
  sources: Int16Array.of(0),
  storedStarts: Uint32Array.of(0),
})
