import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../../../', import.meta.url))

/** A file of the checkout that this package is built in. */
export const inCheckout = (path: string): string => join(root, path)
