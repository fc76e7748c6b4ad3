// Stands in for the frozen child of a VMM: holds the words of a layer of the page server world, and stands
// still, until it is continued.
import { readFileSync } from 'node:fs'
import koffi from 'koffi'
import { mapAnonymous } from 'varve/testing'

const memcpyTo = koffi.load(null).func('uint64_t memcpy(uint64_t to, uint8_t *from, size_t count)')
const bytes = readFileSync(process.argv[2])
const half = bytes.length / 2
// In another order in memory than in the image.
const addresses = [bytes.subarray(half), bytes.subarray(0, half)].map((part) => {
  const memory = mapAnonymous(part.length)
  memcpyTo(memory.address, part, part.length)
  return memory.address
})
process.stdout.write(`${JSON.stringify(addresses.reverse())}\n`)
setInterval(() => {}, 1000)
process.kill(process.pid, 'SIGSTOP')
