#!/usr/bin/env node
import { VarveError } from 'varve'
import { runMatrix } from '../dist/matrix/run-matrix.js'

// Signals end what runs, in order; errors end the process here.
try {
  process.exitCode = await runMatrix(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof VarveError)) throw error
  console.error(
    `varve: ${error.message} [${error.code}]${error.remedy === undefined ? '' : `\n  try: ${error.remedy}`}`,
  )
  process.exitCode = error.exitCode
}
