import { type CatalogueOptions, GuestCatalogue, type KeptGuest } from './catalogue/guest-catalogue.js'

/** A guest with the files that it boots from. They must not be changed: other guests may share them. */
export interface OpenedGuest extends KeptGuest {
  readonly files: { readonly rootDisk: string; readonly kernel: string; readonly initrd: string }
}

/** A guest of this host. NOT_FOUND if there is none of this name. */
export async function openGuest(name: string, options: CatalogueOptions = {}): Promise<OpenedGuest> {
  const catalogue = await GuestCatalogue.open(options)
  return withFiles(catalogue, catalogue.get(name))
}

/** All guests of this host, in the order of their names. */
export async function listGuests(options: CatalogueOptions = {}): Promise<OpenedGuest[]> {
  const catalogue = await GuestCatalogue.open(options)
  return (await catalogue.list()).map((it) => withFiles(catalogue, it))
}

/**
 * Removes guests and the files that no other guest needs. NOT_FOUND, and none is removed, if one is missing.
 */
export async function removeGuests(
  names: readonly string[],
  { signal, ...options }: CatalogueOptions & { readonly signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const catalogue = await GuestCatalogue.open(options)
  await catalogue.remove(names, signal)
}

export const withFiles = ({ paths }: GuestCatalogue, guest: KeptGuest): OpenedGuest => ({
  ...guest,
  files: {
    rootDisk: paths.blob(guest.rootDisk.digest),
    kernel: paths.blob(guest.kernel.digest),
    initrd: paths.blob(guest.initrd.digest),
  },
})
