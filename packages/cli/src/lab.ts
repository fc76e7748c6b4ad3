import { installed } from './installed.js'

/**
 * The package with labs and experiments, which is only loaded, and only needed, by the verbs of `varve lab`.
 */
export const loadLab = (): Promise<typeof import('@varve/lab')> =>
  installed('@varve/lab', import('@varve/lab'))

export type Pictures = typeof import('@varve/lab/pictures')

/** What draws PNG pictures of sets; the map in the terminal does not need it. */
export const loadPictures = (): Promise<Pictures> => installed('@varve/lab', import('@varve/lab/pictures'))
