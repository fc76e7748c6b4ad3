import { readSync, writeSync } from 'node:fs'
import { endWithParent } from '../sys/parent-death.js'
import { mapIntoVmm } from './map-into-vmm.js'
import { failureToJson, type MapperAnswer, orderFromJson } from './mapper-protocol.js'

/** Largest order: an image of as many runs as a process may have mappings is a few MB of JSON. */
const maxOrderBytes = 256 * 1024 * 1024

// A process of its own that does one thing after another and waits in waitpid: it has no use for an event loop. Ctrl-C is for
// the owner, whose end is also the end of this.
process.on('SIGINT', () => {})
endWithParent(Number(process.argv[2]))
let rest: Buffer = Buffer.alloc(0)
for (let line = nextLine(); line !== undefined; line = nextLine()) {
  try {
    answer({ state: 'mapped', report: mapIntoVmm(orderFromJson(line), () => answer({ state: 'attached' })) })
  } catch (error) {
    answer({ state: 'failed', error: failureToJson(error) })
  }
}

/** Undefined at the end: the owner needs no mapper any more. */
function nextLine(): string | undefined {
  const parts: Buffer[] = [rest]
  let length = rest.length
  for (let part: Buffer = rest; ; ) {
    const end = part.indexOf(10)
    if (end >= 0) {
      rest = part.subarray(end + 1)
      parts[parts.length - 1] = part.subarray(0, end)
      return Buffer.concat(parts).toString()
    }
    part = Buffer.alloc(65_536)
    const count = readSync(0, part)
    if (count === 0) return undefined
    part = part.subarray(0, count)
    parts.push(part)
    length += count
    if (length > maxOrderBytes) throw new Error(`an order of more than ${maxOrderBytes} bytes`)
  }
}

function answer(value: MapperAnswer): void {
  writeSync(1, `${JSON.stringify(value)}\n`)
}
