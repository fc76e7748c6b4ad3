#!/usr/bin/env node
import { main } from '../dist/main.js'

// `varve … | head` closes the pipe early; that is not a failure, and there is no reader left to tell.
process.stdout.on('error', (error) => {
  if (error.code !== 'EPIPE') throw error
  process.exit()
})

process.exitCode = await main(process.argv.slice(2))
