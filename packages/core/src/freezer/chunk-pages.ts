/** Pages a read and write: 2 MiB. */
export const chunkPages = 512
