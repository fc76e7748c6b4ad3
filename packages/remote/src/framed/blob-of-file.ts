import type { ByteRange, OpenBlob } from 'varve'
import { openRegular, readAt } from 'varve/testing'

/** A file as a place would give it. */
export async function blobOfFile(path: string): Promise<OpenBlob> {
  const { handle, stat } = await openRegular(path)
  return {
    sizeBytes: stat.size,
    read: async ({ offsetBytes, lengthBytes }: ByteRange) => {
      const bytes = Buffer.allocUnsafe(lengthBytes)
      await readAt(handle, path, bytes, offsetBytes)
      return bytes
    },
    [Symbol.asyncDispose]: () => handle.close(),
  }
}
