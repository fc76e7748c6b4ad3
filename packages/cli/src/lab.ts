import { VarveError } from 'varve'

/**
 * The package with labs and experiments, which is only loaded, and only needed, by the verbs of `varve lab`.
 */
export const loadLab = (): Promise<typeof import('@varve/lab')> => installed(import('@varve/lab'))

export type Pictures = typeof import('@varve/lab/pictures')

/** What draws PNG pictures of sets; the map in the terminal does not need it. */
export const loadPictures = (): Promise<Pictures> => installed(import('@varve/lab/pictures'))

async function installed<Module>(loading: Promise<Module>): Promise<Module> {
  try {
    return await loading
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw cause
    throw new VarveError('HOST_UNSUPPORTED', 'the package @varve/lab is not installed', {
      remedy: 'npm install @varve/lab (with -g if varve was installed with -g)',
      cause,
    })
  }
}
