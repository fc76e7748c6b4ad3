import { existsSync } from 'node:fs'
import { VarveError } from '../../errors.js'
import type { Image } from '../../layer/image-reader.js'
import { readPageServerConfig } from '../protocol/config.js'
import { pageServerFiles } from '../protocol/page-server-files.js'

/**
 * The image that a VM gets those pages from which are not in its memory yet; null if it has got all of them.
 * `directory` is the VM's. If the guest can give pages back (balloon), a page that is not there may be zero
 * instead. HOST_UNSUPPORTED if its pages come from elsewhere than from layers.
 */
export function imageNotCome(directory: string): Image | null {
  const { config, graduated } = pageServerFiles(directory)
  if (existsSync(graduated)) return null
  if (!existsSync(config)) throw unknown('no page server of Varve feeds it')
  const { map, layers, frozen } = readPageServerConfig(config)
  if (frozen !== null) throw unknown('they are in the memory of the machine that it was cloned from')
  return { map, files: layers.map(({ path, pages }) => ({ path, storedPages: pages })) }
}

const unknown = (why: string): VarveError =>
  new VarveError('HOST_UNSUPPORTED', `pages that have not come yet are in no layers: ${why}`)
