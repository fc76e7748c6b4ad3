import { writeSync } from 'node:fs'
import { failureToJson } from '../helper/failure-json.js'
import { standardInputLines } from '../helper/standard-input-lines.js'
import { endWithParent } from '../sys/parent-death.js'
import { mapIntoVmm } from './map-into-vmm.js'
import { type MapperAnswer, orderFromJson } from './mapper-protocol.js'

/** Largest order: an image of as many runs as a process may have mappings is a few MB of JSON. */
const maxOrderLength = 256 * 1024 * 1024

// A process of its own that does one thing after another and waits in waitpid: it has no use for an event
// loop. Ctrl-C is for the owner, whose end is also the end of this.
process.on('SIGINT', () => {})
endWithParent(Number(process.argv[2]))
for (const line of standardInputLines(maxOrderLength)) {
  try {
    answer({ state: 'mapped', report: mapIntoVmm(orderFromJson(line), () => answer({ state: 'attached' })) })
  } catch (error) {
    answer({ state: 'failed', error: failureToJson(error, 'INJECTION_FAILED') })
  }
}

function answer(value: MapperAnswer): void {
  writeSync(1, `${JSON.stringify(value)}\n`)
}
