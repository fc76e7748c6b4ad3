import { VarveError } from 'varve'

/**
 * The package with labs and experiments, which is only loaded, and only needed, by the verbs of `varve lab`.
 */
export async function loadLab(): Promise<typeof import('@varve/lab')> {
  try {
    return await import('@varve/lab')
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw cause
    throw new VarveError('HOST_UNSUPPORTED', 'the package @varve/lab is not installed', {
      remedy: 'npm install @varve/lab (with -g if varve was installed with -g)',
      cause,
    })
  }
}
