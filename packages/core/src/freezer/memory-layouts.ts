/** A stretch of guest-physical memory, bytes. */
export interface LayoutRegion {
  readonly guestAddress: number
  readonly sizeBytes: number
}

const mib = 2 ** 20
const gib = 2 ** 30
/** From here on newer versions leave a second gap, for devices: memory there is not looked for. */
const mostBytes = 250 * gib
/**
 * Where memory ends below 4 GiB, for devices on x86_64. From the second on memory goes on at 4 GiB. 3,328 MiB
 * up to Firecracker 1.12, 3 GiB from 1.13 on.
 */
const gapStarts = [3328 * mib, 3 * gib]

/**
 * How Firecracker on x86_64 may have laid out a guest's memory, in the order of its slots and of the memory
 * file. None for a guest that is larger than any that Varve knows the layout of.
 */
export function possibleLayouts(memoryBytes: number): readonly (readonly LayoutRegion[])[] {
  if (memoryBytes > mostBytes) return []
  const layouts = gapStarts.map((gap): readonly LayoutRegion[] =>
    memoryBytes <= gap
      ? [{ guestAddress: 0, sizeBytes: memoryBytes }]
      : [
          { guestAddress: 0, sizeBytes: gap },
          { guestAddress: 4 * gib, sizeBytes: memoryBytes - gap },
        ],
  )
  const [newest, oldest] = [layouts[1], layouts[0]]
  return newest?.length === oldest?.length && newest?.length === 1 ? [layouts[0] ?? []] : layouts
}
