// Stands in for Firecracker where a page server is to meet what Firecracker cannot be made to do. One JSON
// order a line on standard input, one answer a line on standard output; ends with its standard input.
import { once } from 'node:events'
import { openSync } from 'node:fs'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import koffi from 'koffi'
import {
  createUserfaultfd,
  discardPages,
  mapAnonymous,
  mapHugePages,
  registerMissing,
  sendMessage,
  UFFD_FEATURE_EVENT_REMOVE,
} from 'varve/testing'

const pageBytes = 4096
const libc = koffi.load(null)
const memcpy = libc.func('uint64_t memcpy(uint8_t *to, uint64_t from, size_t count)')
const memcpyTo = libc.func('uint64_t memcpy(uint64_t to, uint8_t *from, size_t count)')
const fcntl = libc.func('int fcntl(int fd, int command, int argument)')
const mmap = libc.func(
  'uint64_t mmap(uint64_t address, size_t length, int protection, int flags, int fd, int64_t offset)',
)
const F_SETFL = 4
const PROT_READ_WRITE = 3
const MAP_PRIVATE_FIXED_ANONYMOUS = 0x32

if (isMainThread) await obey()
else {
  // The balloon: gives runs back, one after the other, while the main thread touches pages.
  const { address, runs } = workerData
  for (const [start, count] of runs) discardPages(address + start * pageBytes, count * pageBytes)
  parentPort?.postMessage('done')
}

async function obey() {
  let memory
  let userfaultfd = -1
  const page = Buffer.alloc(pageBytes)
  /**
   * The 64-bit word that fills the page (below 2^53); -1 where its words differ. Blocks until it is served.
   */
  const wordOf = (number) => {
    memcpy(page, memory.address + number * pageBytes, pageBytes)
    const same = page.compare(page, pageBytes - 8, pageBytes, 0, 8) === 0
    return same && page.subarray(8).equals(page.subarray(0, -8)) ? Number(page.readBigUInt64LE(0)) : -1
  }
  const orders = {
    memory: ({ pages, blocking, huge }) => {
      memory = (huge ? mapHugePages : mapAnonymous)(pages * pageBytes)
      userfaultfd = createUserfaultfd(UFFD_FEATURE_EVENT_REMOVE)
      if (blocking) fcntl(userfaultfd, F_SETFL, 0)
      registerMissing(userfaultfd, memory.address, memory.lengthBytes)
      return { address: memory.address }
    },
    // One more, which no server can tell from the first.
    secondUserfaultfd: () => ({ fd: createUserfaultfd(UFFD_FEATURE_EVENT_REMOVE) }),
    send: async ({ path, parts, descriptors, end }) => {
      const socket = connect(path)
      socket.on('error', () => {})
      await once(socket, 'connect')
      const fds = descriptors.map((name) => (name === 'uffd' ? userfaultfd : openSync(name, 'r')))
      for (let index = 0; index < parts.length; ) {
        try {
          sendMessage(socket._handle.fd, Buffer.from(parts[index], 'latin1'), index === 0 ? fds : [])
          index++
        } catch (error) {
          // The server has heard enough. If the socket is full (EAGAIN, or a part
          // of a part went), more is tried.
          if (error.details.errno === 'EPIPE') break
        }
        await new Promise((resolve) => setTimeout(resolve, 2))
      }
      if (end) socket.end()
      return {}
    },
    // What the balloon of Firecracker up to 1.10 does: fresh memory, outside the userfaultfd, over the range.
    replace: ({ page: first, count }) => {
      const at = memory.address + first * pageBytes
      const length = count * pageBytes
      const mapped = mmap(at, length, PROT_READ_WRITE, MAP_PRIVATE_FIXED_ANONYMOUS, -1, 0)
      return { replaced: Number(mapped) === at }
    },
    // Fills pages with a 64-bit word; they are read first, if that is asked for.
    write: ({ pages, word, readFirst }) => {
      const filled = Buffer.from(new BigUint64Array(pageBytes / 8).fill(BigInt(word)).buffer)
      for (const number of pages) {
        if (readFirst) wordOf(number)
        memcpyTo(memory.address + number * pageBytes, filled, pageBytes)
      }
      return {}
    },
    words: ({ pages }) => ({ words: pages.map(wordOf) }),
    remove: ({ runs }) => {
      for (const [start, count] of runs) discardPages(memory.address + start * pageBytes, count * pageBytes)
      return {}
    },
    balloon: async ({ runs, pages }) => {
      const worker = new Worker(new URL(import.meta.url), { workerData: { address: memory.address, runs } })
      let done = false
      worker.once('message', () => {
        done = true
      })
      const ended = once(worker, 'exit')
      const words = []
      for (let index = 0; index < pages.length || !done; index++) {
        const word = wordOf(pages[index % pages.length])
        if (index < pages.length) words.push(word)
        if (index % 64 === 0) await new Promise(setImmediate)
      }
      await ended
      return { words }
    },
  }
  process.stdout.write('"here"\n')
  for await (const line of createInterface({ input: process.stdin })) {
    const { op, ...rest } = JSON.parse(line)
    process.stdout.write(`${JSON.stringify(await orders[op](rest))}\n`)
  }
  process.exit()
}
