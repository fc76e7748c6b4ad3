import { type BlobSource, type Descriptor, type SourceOptions, VarveError } from 'varve'
import { hashBytes } from 'varve/testing'

/** A whole blob that is at most `maxBytes` long, compared with its digest. NOT_FOUND, CHECKSUM_MISMATCH. */
export async function readSmallBlob(
  blobs: BlobSource,
  { digest, size }: Pick<Descriptor, 'digest' | 'size'>,
  maxBytes: number,
  options: SourceOptions = {},
): Promise<Buffer> {
  if (size > maxBytes)
    throw new VarveError('FORMAT_INVALID', `blob ${digest} has ${size} bytes, more than ${maxBytes}`)
  await using blob = await blobs.open(digest, options)
  const wrong = (what: string) =>
    new VarveError('CHECKSUM_MISMATCH', `blob ${digest} of ${blobs.location} ${what}`)
  if (blob.sizeBytes !== size) throw wrong(`has ${blob.sizeBytes} bytes, not ${size}`)
  const bytes = Buffer.from(await blob.read({ offsetBytes: 0, lengthBytes: size }, options))
  const found = hashBytes(bytes)
  if (found !== digest) throw wrong(`is ${found}`)
  return bytes
}
