import { homedir } from 'node:os'
import { join, resolve } from 'node:path'
import { type Digest, VarveError } from 'varve'
import { hexOf } from 'varve/testing'

/**
 * Where guests are kept: $VARVE_GUESTS, else $XDG_DATA_HOME/varve/guests, else ~/.local/share/varve/guests.
 */
export function defaultGuestsDirectory(env: NodeJS.ProcessEnv = process.env): string {
  if (env.VARVE_GUESTS) return resolve(env.VARVE_GUESTS)
  return join(env.XDG_DATA_HOME || join(homedir(), '.local', 'share'), 'varve', 'guests')
}

/** The files of docs/formats/guest-image.md. */
export function guestPaths(directory: string) {
  return {
    directory,
    version: join(directory, 'varve-guests.json'),
    lock: join(directory, 'lock'),
    names: join(directory, 'names'),
    blobs: join(directory, 'blobs', 'sha256'),
    builds: join(directory, 'builds'),
    work: join(directory, 'work'),
    disks: join(directory, 'disks'),
    nameFile: (name: string) => join(directory, 'names', `${assertGuestName(name)}.json`),
    blob: (digest: Digest) => join(directory, 'blobs', 'sha256', hexOf(digest)),
    build: (key: string) => join(directory, 'builds', `${key}.json`),
  }
}
export type GuestPaths = ReturnType<typeof guestPaths>

const guestName = /^[a-z0-9-]{1,32}$/

/** INVALID_ARGUMENT unless it is 1–32 of a–z, 0–9 and '-'. */
export function assertGuestName(name: string): string {
  if (guestName.test(name)) return name
  throw new VarveError(
    'INVALID_ARGUMENT',
    `the guest name ${JSON.stringify(name)} is not 1–32 of a–z, 0–9 and '-'`,
  )
}
