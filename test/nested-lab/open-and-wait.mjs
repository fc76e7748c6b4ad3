// Opens a lab, names its console log, and waits to be killed.
import { openNestedLab } from '@varve/lab'

const lab = await openNestedLab()
process.stdout.write(`${lab.consoleLogPath}\n`)
setInterval(() => {}, 1000)
