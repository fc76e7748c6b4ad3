import type { FailureJson } from '../helper/failure-json.js'
import { type ExtentMapJson, extentMapFromJson, extentMapToJson } from '../layer/extent-map-json.js'
import type { LayerFile } from '../layer/layer-types.js'
import { pageSetFromJson, pageSetToJson } from '../memory/page-set-json.js'
import type { ProcessIdentity } from '../sys/proc.js'
import type { MapOrder, MapReport } from './map-into-vmm.js'

/**
 * Owner and mapper talk in lines of JSON over its standard input and output, one order after another. To each
 * order it answers `attached`, then `mapped`; or `failed` in the place of either. Both are of one program:
 * nothing is checked but what a mistake could break.
 */
export type MapperAnswer =
  | { readonly state: 'attached' }
  | { readonly state: 'mapped'; readonly report: MapReport }
  | { readonly state: 'failed'; readonly error: FailureJson }

interface OrderJson {
  readonly vmm: ProcessIdentity
  readonly memoryFile: string
  readonly map: ExtentMapJson
  readonly layers: readonly LayerFile[]
  readonly prefault: readonly { readonly readOnly: number[]; readonly written: number[] }[]
  readonly prefaultBudgetMs: number | null
}

export function orderToJson({ map, prefault, ...rest }: MapOrder): string {
  const json: OrderJson = {
    ...rest,
    map: extentMapToJson(map),
    prefault: prefault.map(({ readOnly, written }) => ({
      readOnly: pageSetToJson(readOnly),
      written: pageSetToJson(written),
    })),
  }
  return JSON.stringify(json)
}

export function orderFromJson(text: string): MapOrder {
  const { map, prefault, layers, ...rest } = JSON.parse(text) as OrderJson
  return {
    ...rest,
    layers,
    map: extentMapFromJson(
      map,
      layers.map(({ storedPages }) => storedPages),
    ),
    prefault: prefault.map(({ readOnly, written }, step) => ({
      readOnly: pageSetFromJson(readOnly, map.pages, `read-only pages of step ${step}`),
      written: pageSetFromJson(written, map.pages, `written pages of step ${step}`),
    })),
  }
}
