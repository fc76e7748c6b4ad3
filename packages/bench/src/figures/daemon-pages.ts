// `node scripts/bench.mjs daemon-pages`: what the daemons of a Debian guest add to a working set, and whose
// these pages are: a guest without any, and one with seven. In the nested lab, some 5 minutes after the
// guest is built.
//   --write   page and raw rows into docs/results
//   --out DIR   into DIR        --rows FILE   raw rows only
//   --guests DIR   keep the guest that is built there, or use the one that is
import { parseArgs } from 'node:util'
import { buildGuest, listGuests, openGuest } from '@varve/guest'
import { openNestedLab } from '@varve/lab'
import { inCheckout } from '../common/checkout.js'
import { resultOptions, say, writeResults } from '../common/results.js'
import { openScratch } from '../common/scratch.js'
import { type DaemonRow, daemonPagesPage } from './daemon-pages-page.js'

const mib = 1024 * 1024
const suite = 'bookworm'
/** The pages are the same in a larger guest, and captures take longer. */
const memoryMib = 192
const settings = { memoryMib, settleMs: 8000, idleMs: 65_000 }

interface Daemon {
  readonly name: string
  /** Of its process, as the guest's kernel has it: 15 letters at most. */
  readonly process: string
  /** Of Debian. */
  readonly packages: readonly string[]
  /** Shell commands that leave it running. */
  readonly start: readonly string[]
}

/** In a process group of its own, which it must have before the command that starts it ends. */
const daemon = (command: string) => `setsid ${command} >/dev/null 2>&1 </dev/null & sleep 2`

const all: readonly Daemon[] = [
  { name: 'cron', process: 'cron', packages: ['cron'], start: [daemon('cron -f')] },
  {
    name: 'dbus-daemon',
    process: 'dbus-daemon',
    packages: ['dbus'],
    start: ['mkdir -p /run/dbus', daemon('dbus-daemon --system --nofork --nopidfile')],
  },
  {
    name: 'sshd',
    process: 'sshd',
    packages: ['openssh-server'],
    start: ['mkdir -p /run/sshd', daemon('/usr/sbin/sshd -D')],
  },
  { name: 'rsyslogd', process: 'rsyslogd', packages: ['rsyslog'], start: [daemon('rsyslogd -n')] },
  {
    name: 'systemd-udevd',
    process: 'systemd-udevd',
    packages: ['udev'],
    start: [daemon('/lib/systemd/systemd-udevd')],
  },
  {
    name: 'chronyd',
    process: 'chronyd',
    packages: ['chrony'],
    start: ['mkdir -p /run/chrony', daemon('chronyd -d')],
  },
  {
    name: 'python3 -m http.server',
    process: 'python3',
    packages: ['python3'],
    start: [daemon('python3 -m http.server 8000')],
  },
]

export async function daemonPages(argv: readonly string[]): Promise<void> {
  const { values: options } = parseArgs({
    args: [...argv],
    options: { guests: { type: 'string' }, ...resultOptions },
  })
  const daemons = [
    { name: 'none', processes: [], start: [] },
    {
      name: 'all',
      processes: all.map(({ process }) => process),
      start: all.flatMap(({ start }) => start),
    },
  ]
  using scratch = openScratch()
  const directory = options.guests ?? scratch.path('guests')
  const packages = all.flatMap((it) => it.packages)
  const kept = (await listGuests({ directory })).some(({ name }) => name === 'daemons')
  if (!kept)
    await buildGuest([`debian:${suite}`, ...packages].join('+'), {
      name: 'daemons',
      directory,
      sizeBytes: 400 * mib,
      onProgress: say,
    })
  const { files, bootArgs } = await openGuest('daemons', { directory })
  await using lab = await openNestedLab({ onProgress: say })
  say('sending the guest into the lab')
  const { exitCode, stderr, result } = await lab.run({
    script: inCheckout('test/nested-lab/daemon-pages.mjs'),
    args: [JSON.stringify({ bootArgs, daemons, ...settings })],
    files: {
      'owner-sums.mjs': inCheckout('test/nested-lab/owner-sums.mjs'),
      'root.ext4': files.rootDisk,
      kernel: files.kernel,
      initrd: files.initrd,
    },
    timeoutMs: 3_600_000,
    onOutput: (text) => say(text.trimEnd()),
  })
  if (exitCode !== 0) throw new Error(stderr)
  const rows = result as readonly DaemonRow[]
  const page = daemonPagesPage(rows, { ...settings, suite })
  writeResults({ name: 'daemon-pages', rows, parts: { page }, newPage: (of) => `${of.page}\n` }, options)
}
