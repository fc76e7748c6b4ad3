import type { FailureJson } from '../helper/failure-json.js'
import { type ExtentMapJson, extentMapFromJson, extentMapToJson } from '../layer/extent-map-json.js'
import type { Image } from '../layer/image-reader.js'
import type { LayerFile } from '../layer/layer-types.js'
import type { FrozenSource } from '../memory/frozen-source.js'
import type { ProcessIdentity } from '../sys/proc.js'

/**
 * Owner and freezer talk in lines of JSON over its standard input and output, one order after another. To
 * each order the freezer answers once (`write`: after any number of `progress`); `failed` in the place of an
 * answer. Both are of one program.
 */
export type FreezeOrder =
  /** Makes what can be made while the guest runs: the twin, the search for guest memory, room for the log. */
  | AttachOrder
  /** Makes Firecracker wait when it opens its state file. */
  | HoldOrder
  /** Waits until Firecracker does, takes log and memory, and lets Firecracker go on. */
  | TakeOrder
  /** Firecracker has written its Diff. */
  | KeepDiffOrder
  /** The guest runs again. */
  | { readonly do: 'goes-on' }
  | DescribeOrder
  | WriteOrder
  /** Ends what is frozen: the next capture may begin. */
  | { readonly do: 'release' }

export interface AttachOrder {
  readonly do: 'attach'
  readonly vmm: ProcessIdentity
  readonly memoryBytes: number
  /** Whether KVM logs written pages, by Firecracker's own configuration. */
  readonly logged: boolean
  /** Of the machine: a file is written there for a moment. */
  readonly directory: string
  /** A new file, there while the VMM makes calls. */
  readonly heldNotePath: string
}

/** Which pages the next Diff of the machine consists of, besides those of its log. */
export interface OwedPagesPlace {
  /** Where the pages are kept until they are in a snapshot, as docs/formats/owed-pages-v1.md. */
  readonly owedPath: string
  /** The snapshot that the log counts from; null: the boot, or not known. */
  readonly from: string | null
  /** Whether pages of an earlier log are in that file, and belong to this one. */
  readonly owes: boolean
}

export interface HoldOrder {
  readonly do: 'hold'
  /** The state file, on the host: empty, and open nowhere. */
  readonly statePath: string
  /**
   * The API socket by which to resume the guest if the owner ends from now on, until `goes-on`. Null: the
   * guest is paused, and stays so.
   */
  readonly resumeBy: string | null
}

export interface TakeOrder {
  readonly do: 'take'
  /** Null: the machine has no log. */
  readonly log: OwedPagesPlace | null
  /**
   * What is taken: what was `written` (log, pages owed); what is not the memory file's own but `private`
   * to the VMM; or `all` that is there.
   */
  readonly pages: 'written' | 'private' | 'all'
  readonly how: 'auto' | 'copy' | 'fork'
}

/** Asks where the frozen memory lies, for who reads it while it is not written yet. */
export interface DescribeOrder {
  readonly do: 'describe'
  /** Where to write which pages are taken, in the form of docs/formats/owed-pages-v1.md. */
  readonly takenPath: string
}

export interface KeepDiffOrder {
  readonly do: 'keep-diff'
  /** Firecracker's own Diff: its devices have written these pages. Stays until all is written. */
  readonly diffPath: string
}

export interface WriteOrder {
  readonly do: 'write'
  /** A new file. */
  readonly path: string
  /** `base`: zero pages become holes. `diff`: a hole is a page that is not in it. */
  readonly kind: 'base' | 'diff'
  /**
   * `diff`: pages that this image has as they are now are left out. `base`: pages that the VM has not got yet
   * are those of this image. Null: none.
   */
  readonly image: Image | null
  /** If the copies that writes of the guest cost grow beyond this, the capture fails. */
  readonly mostCopiedBytes: number
  /** Whether the frozen memory stays afterwards, until the freezer ends. */
  readonly keep: boolean
}

export interface FrozenReport {
  readonly how: 'copy' | 'fork'
  /** The child that holds the memory; null if it was copied. */
  readonly child: ProcessIdentity | null
}

export type FreezerAnswer =
  /** It is ready for orders. */
  | { readonly state: 'ready' }
  | { readonly state: 'attached'; readonly regions: number; readonly heldMs: number }
  | { readonly state: 'holds' }
  | { readonly state: 'goes-on' }
  | { readonly state: 'kept'; readonly pages: number }
  | ({ readonly state: 'frozen' } & FrozenReport)
  | ({ readonly state: 'described' } & FrozenSource)
  | { readonly state: 'progress'; readonly pages: number; readonly copiedBytes: number }
  | { readonly state: 'written'; readonly pages: number }
  | { readonly state: 'failed'; readonly error: FailureJson }

interface ImageJson {
  readonly map: ExtentMapJson
  readonly files: readonly LayerFile[]
}

export function orderToJson(order: FreezeOrder): string {
  if (order.do !== 'write' || order.image === null) return JSON.stringify(order)
  const { map, files } = order.image
  return JSON.stringify({ ...order, image: { map: extentMapToJson(map), files } satisfies ImageJson })
}

export function orderFromJson(text: string): FreezeOrder {
  const order = JSON.parse(text) as
    | Exclude<FreezeOrder, WriteOrder>
    | (Omit<WriteOrder, 'image'> & { image: ImageJson | null })
  if (order.do !== 'write') return order
  if (order.image === null) return { ...order, image: null }
  const { map, files } = order.image
  const stored = files.map(({ storedPages }) => storedPages)
  return { ...order, image: { map: extentMapFromJson(map, stored), files } }
}
