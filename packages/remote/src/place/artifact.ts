import type { BlobToPut, Descriptor } from 'varve'
import { hashBytes } from 'varve/testing'

const bytes = Buffer.from('{}')
const digest = hashBytes(bytes)
const size = bytes.length

/**
 * The config of an artifact that has none: OCI image specification 1.1, "Guidance for an Empty Descriptor".
 */
export const emptyConfig: {
  readonly bytes: Buffer
  readonly blob: BlobToPut
  readonly descriptor: Descriptor
} = {
  bytes,
  blob: { digest, sizeBytes: size },
  descriptor: { mediaType: 'application/vnd.oci.empty.v1+json', digest, size },
}
