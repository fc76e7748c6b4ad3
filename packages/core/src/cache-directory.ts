import { homedir } from 'node:os'
import { join } from 'node:path'

/**
 * Where downloads and built images are kept: $VARVE_CACHE_DIR, else
 * $XDG_CACHE_HOME/varve, else ~/.cache/varve.
 */
export function cacheDirectory(env: NodeJS.ProcessEnv = process.env): string {
  if (env.VARVE_CACHE_DIR) return env.VARVE_CACHE_DIR
  return join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'varve')
}
