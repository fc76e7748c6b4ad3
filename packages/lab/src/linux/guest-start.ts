import { mountRootScript } from '@varve/guest/testing'
import { VarveError } from 'varve'
import { agentFiles } from './agent-program.js'

/**
 * In the running guest: a folder in memory, as the root file system is read-only and may be the user's own.
 */
const home = '/run/varve'

const ownAgent = ['python3', '-S', '-B', `${home}/agent.py`] as const

export interface GuestStart {
  /** Files of the first stage. */
  readonly files: readonly { readonly path: string; readonly content: string }[]
  /** Its end, for `initramfs`. */
  readonly script: string
}

/**
 * How a guest gets from its first stage to the agent: the root file system, whatever is in it, is mounted
 * read-only; busybox and the agent move to a folder in memory; a shell there is process 1, mounts what
 * programs expect and keeps the agent running.
 */
export function guestStart(agentCommand: readonly string[] = ownAgent): GuestStart {
  if (agentCommand.length === 0 || agentCommand.some((it) => it.includes('\0')))
    throw new VarveError('INVALID_ARGUMENT', `agentCommand is ${JSON.stringify(agentCommand)}`)
  const init = `b=${home}/busybox
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/tmp LC_ALL=C
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
$b mount -t tmpfs tmpfs /tmp
$b ifconfig lo 127.0.0.1 up
cd /tmp
while :; do
  ${agentCommand.map(quoted).join(' ')} </dev/null
  $b echo "the agent ended with $?"
  $b sleep 1
done
`
  const files = [
    { path: 'varve/init', content: init },
    ...agentFiles.map(({ name, content }) => ({ path: `varve/${name}`, content })),
  ]
  const script = `${mountRootScript}
/bin/busybox mount -t tmpfs tmpfs /root/run
/bin/busybox mkdir /root${home}
/bin/busybox cp /bin/busybox /varve/* /root${home}/
exec /bin/busybox switch_root /root ${home}/busybox sh ${home}/init`
  return { files, script }
}

/** One word for a POSIX shell. */
const quoted = (word: string) => `'${word.replaceAll("'", "'\\''")}'`
