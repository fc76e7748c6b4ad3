import { readSync, writeSync } from 'node:fs'
import { LineCutter } from '../helper/line-cutter.js'
import { endWithParent } from '../sys/parent-death.js'
import { mapIntoVmm } from './map-into-vmm.js'
import { failureToJson, type MapperAnswer, orderFromJson } from './mapper-protocol.js'

/** Largest order: an image of as many runs as a process may have mappings is a few MB of JSON. */
const maxOrderLength = 256 * 1024 * 1024

// A process of its own that does one thing after another and waits in waitpid: it has no use for an event
// loop. Ctrl-C is for the owner, whose end is also the end of this.
process.on('SIGINT', () => {})
endWithParent(Number(process.argv[2]))
for (const line of orders()) {
  try {
    answer({ state: 'mapped', report: mapIntoVmm(orderFromJson(line), () => answer({ state: 'attached' })) })
  } catch (error) {
    answer({ state: 'failed', error: failureToJson(error) })
  }
}

/** Orders, one after another, until the owner needs no mapper any more. */
function* orders(): Generator<string> {
  const lines = new LineCutter(maxOrderLength)
  const decoder = new TextDecoder()
  const buffer = Buffer.alloc(65_536)
  for (let count = readSync(0, buffer); count > 0; count = readSync(0, buffer))
    yield* lines.cut(decoder.decode(buffer.subarray(0, count), { stream: true }))
}

function answer(value: MapperAnswer): void {
  writeSync(1, `${JSON.stringify(value)}\n`)
}
