import { join } from 'node:path'
import { cacheDirectory } from 'varve'

// Node 22.8 and newer keep what they have compiled. In a folder of this user alone: Node runs what it finds
// there.
const { enableCompileCache } = process.getBuiltinModule('node:module') as {
  readonly enableCompileCache?: (directory: string) => unknown
}
enableCompileCache?.(join(cacheDirectory(), 'compiled'))

// `varve … | head` closes the pipe early; that is not a failure, and there is no reader left to tell.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
  process.exit()
})

// By a call, so that it is compiled with the cache in place.
const { main } = await import('./main.js')
process.exitCode = await main(process.argv.slice(2))
