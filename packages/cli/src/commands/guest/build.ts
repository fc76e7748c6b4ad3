import { VarveError } from 'varve'
import { integerOption, positionals, stringOption } from '../../arguments.js'
import type { Command, OptionValues } from '../../command.js'
import { loadGuest } from '../../guest.js'
import { guestJson, kernelText } from '../../render-guest.js'
import { humanBytes } from '../../text.js'

const mib = 1024 * 1024

export const command: Command = {
  usage: 'usage: varve guest build IMAGE --name NAME [options]',
  options: {
    name: { type: 'string' },
    kernel: { type: 'string' },
    size: { type: 'string' },
    entry: { type: 'boolean' },
    init: { type: 'string' },
  },
  help: `
  --name NAME    the guest's name: 1-32 of a-z, 0-9, '-'; replaces a guest of that name
  --kernel FILE  a kernel in place of Debian's: ELF or bzImage, with virtio, vsock and ext4 built in
  --size MIB     size of the root disk (default: 1024 MiB more than the image's files take)
  --entry        start the image's own program when the guest boots, alongside the agent
  --init WHICH   the guest's init: 'agent' (default), or 'image' for the image's own, systemd or
                 OpenRC, which then starts the agent as a service

Makes a Linux guest from an image: a root disk, a kernel, and an initrd that starts Varve's agent as
init. IMAGE is oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME],
debian:SUITE[+PACKAGE...], or the name of an image in a registry. A root disk that was made from
the same layers before is used again. Guests are kept in $VARVE_GUESTS, else in
~/.local/share/varve/guests.

Examples:
  varve guest build debian:bookworm+python3 --name py
  varve guest build docker-archive:app.tar --name app --entry
  varve guest build registry.example.com/team/app:1.4 --name app`,
  run: async (context) => {
    const [image] = positionals(context, ['IMAGE'])
    const { values, signal } = context
    const name = stringOption(values, 'name')
    if (name === undefined)
      throw new VarveError('USAGE', 'the guest has no name', { remedy: 'add --name NAME' })
    const size = integerOption(values, 'size')
    const { buildGuest } = await loadGuest()
    const built = await context.progress(`building ${name}`, (onProgress) =>
      buildGuest(image, {
        name,
        kernel: stringOption(values, 'kernel'),
        sizeBytes: size === undefined ? undefined : size * mib,
        entry: values.entry === true,
        init: initOption(values),
        signal,
        onProgress,
      }),
    )
    const { guest, cached, elapsedMs } = built
    if (context.json) return context.printJson({ ...guestJson(guest), cached, elapsedMs })
    const { sizeBytes, dataBytes, inodes } = guest.rootDisk
    context.print(
      `${name}  root disk ${humanBytes(sizeBytes)} with ${humanBytes(dataBytes)} in ${inodes} files${cached ? ' (made before)' : ''}  kernel ${kernelText(guest)}  ${(elapsedMs / 1000).toFixed(1)} s`,
    )
  },
}

function initOption(values: OptionValues): 'agent' | 'image' | undefined {
  const init = stringOption(values, 'init')
  if (init === undefined || init === 'agent' || init === 'image') return init
  throw new VarveError('USAGE', `--init ${init} is neither agent nor image`)
}
