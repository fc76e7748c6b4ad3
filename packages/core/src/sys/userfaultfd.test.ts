import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import koffi from 'koffi'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { UFFD_FEATURE_EVENT_REMOVE, UFFD_PAGEFAULT_FLAG_WP, UFFD_PAGEFAULT_FLAG_WRITE } from './abi.js'
import { type MemoryMapping, mapAnonymous, mapFile } from './memory-map.js'
import { Poller } from './poll.js'
import {
  createUserfaultfd,
  registerMissing,
  registerMissingAndWriteProtected,
  UserfaultOps,
  unregister,
} from './userfaultfd.js'

// Threads of libuv take the faults, this one serves them. `copyOut` reads the memory in user
// mode as a vCPU's host thread or a device does; were a test to leave a fault unanswered,
// closing the userfaultfd frees the thread.
const libc = koffi.load(null)
const memcpy = libc.func('uint64_t memcpy(uint8_t *to, uint64_t from, size_t count)')
const memcpyIn = libc.func('uint64_t memcpy(uint64_t to, uint8_t *from, size_t count)')
const madvise = libc.func('int madvise(uint64_t address, size_t length, int advice)')
const MADV_DONTNEED = 4
const MADV_DONTDUMP = 16

const page = 4096
const pages = 600
let memory: MemoryMapping
let fd: number
let ops: UserfaultOps
let poller: Poller
beforeEach(() => {
  memory = mapAnonymous(pages * page)
  fd = createUserfaultfd(UFFD_FEATURE_EVENT_REMOVE)
  registerMissing(fd, memory.address, memory.lengthBytes)
  ops = new UserfaultOps(fd)
  poller = new Poller([fd])
})
afterEach(() => {
  if (fd >= 0) closeSync(fd)
  memory[Symbol.dispose]()
})

const addressOf = (number: number) => memory.address + number * page

function copyOut(number: number): Promise<Buffer> {
  const bytes = Buffer.alloc(page)
  return new Promise((resolve, reject) =>
    memcpy.async(bytes, addressOf(number), page, (error: Error | null) =>
      error ? reject(error) : resolve(bytes),
    ),
  )
}

function copyIn(number: number, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) =>
    memcpyIn.async(addressOf(number), bytes, page, (error: Error | null) =>
      error ? reject(error) : resolve(),
    ),
  )
}

/** Events as text, in the order they are given, waiting for the first. */
function nextEvents(): string[] {
  expect(poller.wait(5000)).toBe(1)
  const events: string[] = []
  const number = (address: number) => (address - memory.address) / page
  const count = ops.readEvents({
    onPagefault: (address) => events.push(`fault ${number(address)}`),
    onRemove: (start, end) => events.push(`remove ${number(start)}-${number(end)}`),
  })
  expect(count).toBe(events.length)
  return events
}

/** A file of four pages, each full of its number + 1, mapped as layers are. */
function layer(): MemoryMapping & { readonly path: string } {
  const directory = mkdtempSync(join(tmpdir(), 'varve-uffd-'))
  const path = join(directory, 'layer')
  writeFileSync(path, Buffer.concat([1, 2, 3, 4].map((byte) => Buffer.alloc(page, byte))))
  const file = openSync(path, 'r')
  const mapping = mapFile(file, 4 * page)
  closeSync(file)
  return {
    ...mapping,
    path,
    [Symbol.dispose]: () => {
      mapping[Symbol.dispose]()
      rmSync(directory, { recursive: true })
    },
  }
}

describe('a fault', () => {
  test('waits until its page is copied from the source, and then sees those bytes', async () => {
    using source = layer()
    const touched = copyOut(5)
    expect(nextEvents()).toEqual(['fault 5'])
    expect(ops.copy(addressOf(5), source, 2 * page, page)).toBe('installed')
    expect(await touched).toEqual(Buffer.alloc(page, 3))
    expect(nextEventCount()).toBe(0)
  })

  test('a zero run serves it and its neighbours at once', async () => {
    const touched = copyOut(10)
    expect(nextEvents()).toEqual(['fault 10'])
    expect(ops.zero(addressOf(10), 512 * page)).toBe('installed')
    expect(await touched).toEqual(Buffer.alloc(page))
    // Present: no event, and nothing to wait for.
    expect(await copyOut(521)).toEqual(Buffer.alloc(page))
    expect(nextEventCount()).toBe(0)
  })

  test('two threads on one page: the second answer is "exists"; one copy has freed both', async () => {
    using source = layer()
    const touched = [copyOut(1), copyOut(1)]
    const events = nextEvents()
    while (events.length < 2) events.push(...nextEvents())
    expect(events).toEqual(['fault 1', 'fault 1'])
    expect(ops.copy(addressOf(1), source, 0, page)).toBe('installed')
    expect(ops.copy(addressOf(1), source, page, page)).toBe('exists')
    ops.wake(addressOf(1), page)
    for (const bytes of await Promise.all(touched)) expect(bytes).toEqual(Buffer.alloc(page, 1))
  })

  test('a run that meets a present page: the pages before it are done, and said to be', () => {
    using source = layer()
    expect(ops.copy(addressOf(13), source, 0, page)).toBe('installed')
    expect(ops.zero(addressOf(10), 20 * page)).toBe('again')
    expect(ops.zeroedBytes).toBe(3 * page)
    expect(ops.zero(addressOf(13), 20 * page)).toBe('exists')
    expect(ops.zeroedBytes).toBe(0)
  })

  test('a waking alone makes the thread ask again', async () => {
    const touched = copyOut(3)
    expect(nextEvents()).toEqual(['fault 3'])
    ops.wake(addressOf(3), page)
    expect(nextEvents()).toEqual(['fault 3'])
    expect(ops.zero(addressOf(3), page)).toBe('installed')
    await touched
  })
})

describe('a removal', () => {
  test('waits for its event to be read; until then nothing can be installed; then the page is missing', async () => {
    using source = layer()
    expect(ops.copy(addressOf(7), source, 0, page)).toBe('installed')
    const before = copyOut(30)
    expect(nextEvents()).toEqual(['fault 30'])
    expect(ops.removalPending()).toBe(false)
    expect(ops.zero(addressOf(30), page)).toBe('installed')
    await before
    const removed = new Promise<number>((resolve, reject) =>
      madvise.async(addressOf(7), 2 * page, MADV_DONTNEED, (error: Error | null, result: number) =>
        error ? reject(error) : resolve(result),
      ),
    )
    expect(poller.wait(5000)).toBe(1)
    expect(ops.copy(addressOf(20), source, 0, page)).toBe('again')
    expect(ops.zero(addressOf(20), page)).toBe('again')
    expect(ops.zeroedBytes).toBe(0)
    expect(ops.removalPending()).toBe(true)
    expect(nextEvents()).toEqual(['remove 7-9'])
    // The kernel lets go only when the thread that removes goes on.
    expect(await removed).toBe(0)
    expect(ops.removalPending()).toBe(false)
    expect(ops.copy(addressOf(20), source, 0, page)).toBe('installed')
    const touched = copyOut(7)
    expect(nextEvents()).toEqual(['fault 7'])
    expect(ops.zero(addressOf(7), page)).toBe('installed')
    expect(await touched).toEqual(Buffer.alloc(page))
  })

  test('that is read together with faults comes before them, though the kernel hands it out last', async () => {
    const removed = new Promise<number>((resolve, reject) =>
      madvise.async(addressOf(7), page, MADV_DONTNEED, (error: Error | null, result: number) =>
        error ? reject(error) : resolve(result),
      ),
    )
    expect(poller.wait(5000)).toBe(1)
    const touched = copyOut(7)
    await untilFaultsWait(1)
    expect(nextEvents()).toEqual(['remove 7-8', 'fault 7'])
    expect(await removed).toBe(0)
    expect(ops.zero(addressOf(7), page)).toBe('installed')
    expect(await touched).toEqual(Buffer.alloc(page))
  })
})

describe('a zero run', () => {
  test('that crosses from one mapping into another is "gone" as a whole; each part is not', () => {
    // Any lasting difference between neighbours splits a mapping, as Firecracker's balloon did up to 1.10.
    expect(madvise(addressOf(100), 100 * page, MADV_DONTDUMP)).toBe(0)
    expect(ops.zero(addressOf(90), 20 * page)).toBe('gone')
    expect(ops.zeroedBytes).toBe(0)
    expect(ops.zero(addressOf(90), 10 * page)).toBe('installed')
    expect(ops.zero(addressOf(100), 10 * page)).toBe('installed')
  })
})

describe('write protection', () => {
  test('shows the first write to each page after it was set, and no reading', async () => {
    using source = layer()
    // The range is registered as missing only, as Firecracker does; the handler widens that.
    registerMissingAndWriteProtected(fd, memory.address, memory.lengthBytes)
    expect(ops.copy(addressOf(5), source, 0, 4 * page)).toBe('installed')
    expect(ops.writeProtect(addressOf(5), 4 * page, true)).toBe('installed')
    expect(await copyOut(5)).toEqual(Buffer.alloc(page, 1))
    const written = copyIn(6, Buffer.alloc(page, 9))
    expect(poller.wait(5000)).toBe(1)
    const faults: [number, number][] = []
    ops.readEvents({ onPagefault: (address, flags) => faults.push([address, flags]), onRemove: () => {} })
    expect(faults).toEqual([[addressOf(6), UFFD_PAGEFAULT_FLAG_WP | UFFD_PAGEFAULT_FLAG_WRITE]])
    expect(ops.writeProtect(addressOf(6), page, false)).toBe('installed')
    await written
    await copyIn(6, Buffer.alloc(page, 8))
    expect(await copyOut(6)).toEqual(Buffer.alloc(page, 8))
    expect(nextEventCount()).toBe(0)
  })

  test('is there from the first moment for pages that are copied protected, and lifted from a page wakes who writes to it', async () => {
    using source = layer()
    ops.reportWrites(memory.address, memory.lengthBytes)
    expect(ops.copy(addressOf(5), source, 0, 2 * page, true)).toBe('installed')
    expect(await copyOut(5)).toEqual(Buffer.alloc(page, 1))
    expect(nextEventCount()).toBe(0)
    const written = copyIn(5, Buffer.alloc(page, 9))
    expect(poller.wait(5000)).toBe(1)
    expect(nextEventCount()).toBe(1)
    expect(ops.writeProtect(addressOf(5), page, false)).toBe('installed')
    await written
    expect(await copyOut(5)).toEqual(Buffer.alloc(page, 9))
  })

  test('of copied pages needs a range that is registered for it', () => {
    using source = layer()
    expect(() => ops.copy(addressOf(5), source, 0, page, true)).toThrow('EINVAL')
  })

  test('of a range that is registered for missing pages only is "gone"', () => {
    expect(ops.writeProtect(addressOf(0), page, true)).toBe('gone')
  })
})

test('a copy that meets a page already there tells how far it came', () => {
  using source = layer()
  expect(ops.copy(addressOf(7), source, 0, page)).toBe('installed')
  expect(ops.copy(addressOf(5), source, 0, 4 * page)).toBe('again')
  expect(ops.copiedBytes).toBe(2 * page)
  expect(ops.copy(addressOf(7), source, 0, 2 * page)).toBe('exists')
  expect(ops.copiedBytes).toBe(0)
})

describe('a range that is no longer registered', () => {
  test('is "gone"; its threads go on with zeros', async () => {
    using source = layer()
    const touched = copyOut(1)
    expect(nextEvents()).toEqual(['fault 1'])
    unregister(fd, memory.address, memory.lengthBytes)
    expect(await touched).toEqual(Buffer.alloc(page))
    expect(ops.copy(addressOf(2), source, 0, page)).toBe('gone')
    expect(ops.zero(addressOf(2), page)).toBe('gone')
  })

  test('closing the userfaultfd frees who waits, too', async () => {
    const touched = copyOut(1)
    expect(nextEvents()).toEqual(['fault 1'])
    closeSync(fd)
    fd = -1
    expect(await touched).toEqual(Buffer.alloc(page))
  })
})

describe('a copy', () => {
  test.each([
    [-page, page],
    [4 * page, page],
    [3 * page, 2 * page],
    [0, 5 * page],
    [0, 0],
    [0, -page],
    [2 ** 52, page],
    [Number.NaN, page],
    [0, Number.NaN],
  ])('from %d, %d bytes of a four-page source is refused before the kernel sees it', (offset, length) => {
    using source = layer()
    expect(() => ops.copy(addressOf(0), source, offset, length)).toThrow('EFAULT: source')
    // Nothing was installed.
    expect(ops.zero(addressOf(0), page)).toBe('installed')
  })

  test('from a file that has shrunk since fails with EFAULT, and with no SIGBUS', () => {
    using source = layer()
    truncateSync(source.path, page)
    expect(ops.copy(addressOf(0), source, 0, page)).toBe('installed')
    expect(() => ops.copy(addressOf(1), source, page, page)).toThrow('UFFDIO_COPY failed with EFAULT')
  })

  test('to an odd address is refused by the kernel', () => {
    using source = layer()
    expect(() => ops.copy(addressOf(0) + 1, source, 0, page)).toThrow('EINVAL')
    expect(() => ops.zero(addressOf(0), 100)).toThrow('EINVAL')
    expect(() => ops.wake(addressOf(0) + 1, page)).toThrow('EINVAL')
  })
})

test('a descriptor that is none of these says which call failed', () => {
  const zero = openSync('/dev/zero', 'r')
  expect(() => registerMissing(zero, memory.address, page)).toThrow('UFFDIO_REGISTER failed with ENOTTY')
  expect(() => unregister(zero, memory.address, page)).toThrow('UFFDIO_UNREGISTER failed with ENOTTY')
  closeSync(zero)
  expect(() => registerMissing(fd, memory.address + 1, page)).toThrow('EINVAL')
  expect(() => createUserfaultfd(1 << 31)).toThrow('UFFDIO_API failed with EINVAL')
})

/** The kernel counts threads that wait for a page, and not those that wait for the reading of an event. */
async function untilFaultsWait(count: number): Promise<void> {
  while (!readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8').includes(`pending:\t${count}\n`))
    await new Promise((resolve) => setTimeout(resolve, 1))
}

function nextEventCount(): number {
  return ops.readEvents({ onPagefault: () => {}, onRemove: () => {} })
}
