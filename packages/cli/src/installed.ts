import { VarveError } from 'varve'

/** A package that only some verbs need; HOST_UNSUPPORTED, with what installs it, if it is not there. */
export async function installed<Module>(name: string, loading: Promise<Module>): Promise<Module> {
  try {
    return await loading
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw cause
    throw new VarveError('HOST_UNSUPPORTED', `the package ${name} is not installed`, {
      remedy: `npm install ${name} (with -g if varve was installed with -g)`,
      cause,
    })
  }
}
