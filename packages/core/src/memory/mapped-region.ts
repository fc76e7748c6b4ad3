/** A region of guest memory as the VMM has it mapped: pages of the image in a row, at one address. */
export interface MappedRegion {
  /** Of the first byte in the VMM's address space. */
  readonly address: number
  /** Number of the first page in the image, which is its place in a flat memory file. */
  readonly firstPage: number
  readonly pages: number
}
