#!/usr/bin/env node
import { VarveError } from 'varve'
import { runScenarios } from '../dist/runner/run.js'

try {
  process.exitCode = await runScenarios(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof VarveError)) throw error
  console.error(
    `varve: ${error.message} [${error.code}]${error.remedy === undefined ? '' : `\n  try: ${error.remedy}`}`,
  )
  process.exitCode = error.exitCode
}
