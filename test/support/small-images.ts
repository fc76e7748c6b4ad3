import { readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import type { OpenedGuest } from '@varve/guest'
import { busyboxBinary, type MadeEntry, type MadeImage, madeTar } from '@varve/guest/testing'

const dir = (name: string): MadeEntry => ({ name, type: '5' })
const link = (name: string, linkName: string): MadeEntry => ({ name, type: '2', linkName })
const hardLink = (name: string, linkName: string): MadeEntry => ({ name, type: '1', linkName })

const image = (tag: string, layers: readonly (readonly MadeEntry[])[], config: MadeImage['config'] = {}) => ({
  tag,
  config,
  layers: layers.map((it) => ({ tar: madeTar([...it]) })),
})

/** Names of busybox, which is what it then does. */
const muslTools = ['cat', 'date', 'head', 'id', 'pwd', 'sh', 'stat']
const bareTools = ['cp', 'date', 'head']

/**
 * Images of a few files. `musl`: a busybox with a shell, users, two layers, and files of all kinds. `bare`: a
 * static program under the names that the test needs; no shell, no user, no library.
 */
export async function smallImages(): Promise<MadeImage[]> {
  const busybox = { content: readFileSync(await busyboxBinary()), mode: 0o755 }
  const passwd = 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n'
  const tool = '#!/bin/sh\necho "$A as $(id -un) in $(pwd)"\n'
  const musl = image(
    'musl',
    [
      [
        ...['bin', 'etc', 'home', 'root', 'var'].map(dir),
        { name: 'bin/busybox', ...busybox },
        ...muslTools.map((it) => link(`bin/${it}`, 'busybox')),
        { name: 'etc/passwd', content: passwd },
        { name: 'etc/group', content: 'root:x:0:\napp:x:1000:\n' },
        { name: 'etc/gone', content: 'gone' },
        { ...dir('home/app'), uid: 1000, gid: 1000, mode: 0o700 },
      ],
      [
        { name: 'etc/.wh.gone' },
        { name: 'home/app/tool', content: tool, mode: 0o4755, uid: 1000 },
        hardLink('home/app/same', 'home/app/tool'),
        { name: 'var/tty', type: '3', device: [5, 0], mode: 0o666, gid: 5 },
      ],
    ],
    { Env: ['A=from the image'], User: 'app', WorkingDir: '/home/app' },
  )
  const bare = image(
    'bare',
    [
      [
        { name: 'cat', ...busybox },
        ...bareTools.map((it) => hardLink(it, 'cat')),
        { name: 'words', content: 'started by the image\n' },
      ],
    ],
    { Entrypoint: ['/cp', '/words', '/run/started'] },
  )
  return [musl, bare]
}

/** An image with one layer, the archive, and the settings of a guest. */
export function debianOf(archive: string, { env, cmd }: OpenedGuest['config']): MadeImage {
  const pack = (tar: Buffer) => gzipSync(tar, { level: 1 })
  return {
    tag: 'debian',
    layers: [{ tar: readFileSync(archive), pack }],
    config: { Env: env, Cmd: cmd },
  }
}
