import { randomBytes } from 'node:crypto'

/** Of a file that gets another name, or none, once it is written: `.varve-tmp-` and 16 hexadecimal digits. */
export const temporaryName = (): string => `.varve-tmp-${randomBytes(8).toString('hex')}`

/** Also the names of earlier versions' probes for shared blocks, which lived for milliseconds. */
export const isTemporaryName = (name: string): boolean =>
  /^\.varve-(tmp-[0-9a-f]{16}|reflink-probe-[0-9a-f]{12}-[ab])$/.test(name)
