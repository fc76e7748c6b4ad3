import type { OpenedGuest } from '@varve/guest'

export const kernelText = ({ kernel }: OpenedGuest): string => kernel.release ?? 'given'

/** What `--json` says of a guest: docs/formats/guest-image.md, with the paths of the files. */
export function guestJson(guest: OpenedGuest): Record<string, unknown> {
  const { name, createdAt, source, rootDisk, kernel, initrd, bootArgs, config, files } = guest
  return {
    name,
    createdAt,
    source,
    rootDisk: { ...rootDisk, path: files.rootDisk },
    kernel: { ...kernel, path: files.kernel },
    initrd: { ...initrd, path: files.initrd },
    bootArgs,
    config,
  }
}
