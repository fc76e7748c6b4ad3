import { labPaths } from '../nested/lab-paths.js'
import { type LinuxGuest, linuxGuestIn } from './guest-files.js'
import { type LinuxGuestOptions, linuxGuest } from './guest-image.js'

/** The Linux guest's files by their paths inside the nested lab, for scripts that run there. */
export const guestInLab: LinuxGuest = linuxGuestIn(labPaths.guest)

/** The Linux guest for machines of this host: the one that the nested lab brings along, or `linuxGuest`'s. */
export async function guestHere(options: LinuxGuestOptions = {}): Promise<LinuxGuest> {
  return process.env.VARVE_LAB === 'nested' ? guestInLab : await linuxGuest(options)
}
