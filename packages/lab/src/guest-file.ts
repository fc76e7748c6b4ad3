import { readFileSync } from 'node:fs'

/** The text of a file that runs in a guest, by its name in the package's folder `guest`. */
export const guestFile = (name: string): string =>
  readFileSync(new URL(`../guest/${name}`, import.meta.url), 'utf8')
