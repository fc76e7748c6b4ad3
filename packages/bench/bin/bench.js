#!/usr/bin/env node
import { runBench } from '../dist/index.js'

process.exitCode = await runBench(process.argv.slice(2))
