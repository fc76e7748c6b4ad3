#!/usr/bin/env node
import { VarveError } from 'varve'
import { runDemo } from '../dist/demo/run-demo.js'

// Signal handlers of `varve` stop what runs and end the process; errors end it here.
try {
  process.exitCode = await runDemo(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof VarveError)) throw error
  console.error(
    `varve: ${error.message} [${error.code}]${error.remedy === undefined ? '' : `\n  try: ${error.remedy}`}`,
  )
  process.exitCode = error.exitCode
}
