import {
  bootMachine,
  type DiskSpec,
  type FixUpStep,
  type MachineSpec,
  machineSpec,
  type RunningMachine,
  readMachineSpec,
  VarveError,
} from 'varve'
import {
  integerOption,
  labelOption,
  labelsOption,
  listOption,
  positionals,
  stringOption,
} from '../arguments.js'
import type { Command, CommandContext, OptionValues } from '../command.js'
import { firecrackerHelp, firecrackerOptions, firecrackerPlaces } from '../firecracker-options.js'
import { loadGuest } from '../guest.js'
import { hookHelp, hookMsOf, hookOptions, hooksOf } from '../hook-options.js'

export const command: Command = {
  usage: 'usage: varve boot --guest GUEST [options] | varve boot --kernel FILE | varve boot --spec FILE',
  options: {
    guest: { type: 'string' },
    spec: { type: 'string' },
    name: { type: 'string' },
    kernel: { type: 'string' },
    initrd: { type: 'string' },
    append: { type: 'string' },
    memory: { type: 'string' },
    vcpus: { type: 'string' },
    'root-disk': { type: 'string' },
    disk: { type: 'string', multiple: true },
    'vsock-cid': { type: 'string' },
    'guest-agent': { type: 'boolean' },
    tap: { type: 'string', multiple: true },
    entropy: { type: 'boolean' },
    'no-dirty-tracking': { type: 'boolean' },
    ...labelOption,
    ...hookOptions,
    ...firecrackerOptions,
  },
  help: `
  --guest GUEST          a guest that varve guest build made; boot waits until its agent answers
  --spec FILE            machine spec as JSON (fields of MachineSpec); flags override it
  --name NAME            1-32 of a-z, 0-9, '-'; default a random one
  --kernel FILE          uncompressed kernel: vmlinux on x86_64, Image on aarch64
  --initrd FILE          initial RAM disk
  --append TEXT          kernel command line (default "console=ttyS0 reboot=k panic=1"); with
                         --guest, appended to the guest's own
  --memory MIB           guest memory in MiB (default 128; with --guest 256)
  --vcpus N              1-32 (default 1)
  --root-disk FILE[:ro]  root disk
  --disk ID=FILE[:ro]    further disk, repeatable
  --vsock-cid N          give the guest a vsock device; its socket is printed
  --guest-agent          the guest's disk has the agent of @varve/guest, on port 1024; needs
                         --vsock-cid. boot waits until it answers; snapshots of the machine say it
  --tap ID=TAP           network interface on an existing tap device, repeatable
  --entropy              virtio entropy device
  --label KEY=VALUE      a note about the machine, repeatable; varve ps filters by it
  --no-dirty-tracking    no log of written pages; Diff snapshots then need Firecracker 1.13
${hookHelp}
${firecrackerHelp}

A guest with the agent runs its hook run before boot ends. If the hook fails, so does boot.

Examples:
  varve boot --guest py --name web --memory 512
  varve boot --kernel vmlinux --root-disk root.ext4 --memory 256 --vsock-cid 3 --name web
  varve boot --spec web.json --json`,
  run: async (context) => {
    positionals(context, [])
    const { values } = context
    const flags = fromFlags(values)
    const guest = stringOption(values, 'guest')
    const { machine, told } = await namingOptions(flags, () =>
      guest === undefined ? bootFiles(context, flags) : bootGuest(context, guest, flags),
    )
    const { id, pid, paths, vsockPath } = machine
    machine.detach()
    if (context.json)
      return context.printJson({
        id,
        pid,
        directory: paths.directory,
        console: paths.consoleOutput,
        vsock: vsockPath,
        fixUp: told,
      })
    context.print(
      `${id}  pid ${pid}  console ${paths.consoleOutput}${vsockPath === null ? '' : `  vsock ${vsockPath}`}`,
    )
  },
}

/** `told`: what its guest was told, and its hook; null if it was not asked. */
interface Booted {
  readonly machine: RunningMachine
  readonly told: readonly FixUpStep[] | null
}

function bootFiles(context: CommandContext, flags: Flags): Promise<Booted> {
  const { values, signal } = context
  const file = stringOption(values, 'spec')
  const fromFile: Partial<MachineSpec> = file === undefined ? {} : readMachineSpec(file)
  const options = { ...firecrackerPlaces(values), labels: labelsOption(values), signal }
  if (flags.kernel === undefined && fromFile.kernel === undefined)
    throw new VarveError('USAGE', 'no kernel to boot was named', {
      remedy: '--guest GUEST, --kernel FILE, or --spec FILE with a "kernel"',
    })
  const spec = machineSpec({ memoryMib: 128, vcpus: 1, ...fromFile, ...flags })
  return context.progress('booting', async () => {
    const machine = await bootMachine(spec, options)
    const asked = await hooksOf(machine, context)
    if (asked === undefined) return { machine, told: null }
    return asked.guests.greetGuest(machine, { hookMs: asked.hookMs, signal })
  })
}

async function bootGuest(context: CommandContext, guest: string, flags: Flags): Promise<Booted> {
  const { values, signal } = context
  for (const option of ['spec', 'kernel', 'initrd', 'root-disk'])
    if (values[option] !== undefined)
      throw new VarveError('USAGE', `--${option} and --guest exclude each other: a guest has its own files`)
  const options = { ...firecrackerPlaces(values), labels: labelsOption(values), signal }
  const { bootArgs: append, name, ...machine } = flags
  const { bootGuest } = await loadGuest()
  return context.progress(`booting ${guest}`, () =>
    bootGuest(guest, { ...options, machine, append, name, hookMs: hookMsOf(values) }),
  )
}

/** The port of an agent that was started without another, as `agentPort` of `@varve/guest`. */
const agentPort = 1024

/** The options that set a field of the spec. */
const optionOf: Readonly<Record<string, string>> = {
  name: '--name',
  kernel: '--kernel',
  initrd: '--initrd',
  bootArgs: '--append',
  memoryMib: '--memory',
  vcpus: '--vcpus',
  rootDisk: '--root-disk',
  disks: '--disk',
  vsockCid: '--vsock-cid',
  network: '--tap',
  guestAgent: '--guest-agent',
}

/** An error about a field says by which option it was given. */
async function namingOptions<T>(flags: Flags, boot: () => Promise<T>): Promise<T> {
  try {
    return await boot()
  } catch (cause) {
    const field = cause instanceof VarveError ? cause.details.field : undefined
    if (!(cause instanceof VarveError) || typeof field !== 'string' || !(field in flags)) throw cause
    const { code, message, remedy, details } = cause
    const option = optionOf[field] ?? field
    throw new VarveError(code, `${option}: ${message}`, {
      cause,
      details: { ...details, option },
      ...(remedy === undefined ? {} : { remedy }),
    })
  }
}

/** Fields of a spec. Their values are checked with it. */
type Flags = Partial<MachineSpec>

function fromFlags(values: OptionValues): Flags {
  const rootDisk = stringOption(values, 'root-disk')
  const disks = listOption(values, 'disk').map((text): DiskSpec => {
    const [id, path] = pair('--disk', text)
    return { id, ...disk(path) }
  })
  const network = listOption(values, 'tap').map((text) => {
    const [id, tap] = pair('--tap', text)
    return { id, tap }
  })
  const flags = {
    name: stringOption(values, 'name'),
    kernel: stringOption(values, 'kernel'),
    initrd: stringOption(values, 'initrd'),
    bootArgs: stringOption(values, 'append'),
    memoryMib: integerOption(values, 'memory'),
    vcpus: integerOption(values, 'vcpus'),
    vsockCid: integerOption(values, 'vsock-cid'),
    guestAgent: values['guest-agent'] === true ? { port: agentPort } : undefined,
    rootDisk: rootDisk === undefined ? undefined : disk(rootDisk),
    disks: disks.length === 0 ? undefined : disks,
    network: network.length === 0 ? undefined : network,
    entropy: values.entropy,
    trackDirtyPages: values['no-dirty-tracking'] === true ? false : undefined,
  }
  return Object.fromEntries(Object.entries(flags).filter(([, value]) => value !== undefined)) as Flags
}

function pair(flag: string, text: string): [string, string] {
  const at = text.indexOf('=')
  if (at < 1) throw new VarveError('USAGE', `${flag} ${text} is not ID=VALUE`)
  return [text.slice(0, at), text.slice(at + 1)]
}

function disk(text: string): { path: string; readOnly: boolean } {
  const readOnly = text.endsWith(':ro')
  return { path: readOnly ? text.slice(0, -3) : text, readOnly }
}
