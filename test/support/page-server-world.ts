import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { ProcessIdentity, ServingProcesses } from 'varve'
import { type ExtentMap, extentMapFromJson, lookupPage } from 'varve/layers'
import {
  orderService,
  type PageServerConfig,
  pageServerConfigToJson,
  pageServerFiles,
  processIdentity,
} from 'varve/testing'
import { afterAll, beforeAll } from 'vitest'

const fakeVmm = fileURLToPath(new URL('./fake-vmm.mjs', import.meta.url))

export const pageBytes = 4096
export const imagePages = 3000
/** Three layers and zero runs of every length, also longer than 2 MiB. */
const layerCount = 3
const map: ExtentMap = extentMapFromJson({ pages: imagePages, runs: runs() }, [3000, 3000, 3000])

function runs(): number[] {
  const found: number[] = []
  let seed = 7
  const next = (limit: number) => {
    seed = (seed * 1103515245 + 12345) % 2 ** 31
    return Math.floor((seed / 2 ** 31) * limit)
  }
  for (let page = 0; page < imagePages; ) {
    const count = Math.min(imagePages - page, 1 + next(page === 900 ? 1 : 60))
    const source = next(layerCount + 1) - 1
    found.push(count, source, source < 0 ? 0 : next(3000 - count))
    page += count
    if (page > 1300 && page < 1400) {
      found.push(700, -1, 0)
      page += 700
    }
  }
  return found
}

/** What a page of layer `source` is full of: one 64-bit word, another in every page of every layer. */
export function wordOfPage(page: number): number {
  const { source, storedPage } = lookupPage(map, page)
  return source < 0 ? 0 : (source + 1) * 2 ** 32 + storedPage + 1
}
export const isZeroPage = (page: number) => lookupPage(map, page).source < 0

/**
 * Two regions, in another order in memory than in the image, with space between: as
 * memory page, image page, pages.
 */
const layout = [
  { memoryPage: 0, imagePage: 1200, pages: 1800 },
  { memoryPage: 1900, imagePage: 0, pages: 1200 },
] as const
export const memoryPages = 3200

export function memoryPageOf(imagePage: number): number {
  const region = layout[imagePage >= 1200 ? 0 : 1]
  return region.memoryPage + imagePage - region.imagePage
}

export function handshakeText(address: number): string {
  return JSON.stringify(
    layout.map(({ memoryPage, imagePage, pages }) => ({
      base_host_virt_addr: address + memoryPage * pageBytes,
      size: pages * pageBytes,
      offset: imagePage * pageBytes,
      page_size: pageBytes,
      page_size_kib: pageBytes,
    })),
  )
}

export interface FakeVmm {
  readonly identity: ProcessIdentity
  readonly child: ChildProcess
  order<Answer>(order: { readonly op: string; readonly [name: string]: unknown }): Promise<Answer>
}

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface PageServerWorld extends AsyncDisposable {
  readonly directory: string
  readonly files: ReturnType<typeof pageServerFiles>
  readonly config: PageServerConfig
  readonly vmm: FakeVmm
  readonly vmmEnded: Promise<Ended>
  /** Whose page server serves it: all worlds of a test file have one, unless a world wants its own. */
  readonly runtime: string
  /** Has the page server serve the VM of `config`; the server is started if there is none. */
  start(): Promise<ServingProcesses>
  /** A memory of the image's size, and a right handshake. */
  attach(): Promise<void>
  death(): { reason: string; detail: string } | undefined
  /** What the server wrote about this VM: nothing, unless it gave it up. */
  log(): string
}

/** For a world that is to have a page server of its own. */
export const ownRuntime = 'own'

let sharedRuntime: string
// Not while the tests are only listed.
beforeAll(() => {
  sharedRuntime = mkdtempSync(join(tmpdir(), 'varve-pages-runtime-'))
})
/** The server sees that its directory is gone, and ends. */
afterAll(() => rmSync(sharedRuntime, { recursive: true, force: true }))

export async function openPageServerWorld(
  change: Partial<PageServerConfig> = {},
  { runtime: asked }: { readonly runtime?: string } = {},
): Promise<PageServerWorld> {
  const directory = mkdtempSync(join(tmpdir(), 'varve-pages-'))
  const files = pageServerFiles(directory)
  const layers = Array.from({ length: layerCount }, (_, source) => {
    const words = new BigUint64Array((3000 * pageBytes) / 8)
    for (let page = 0; page < 3000; page++)
      words.fill(BigInt((source + 1) * 2 ** 32 + page + 1), page * 512, (page + 1) * 512)
    const path = join(directory, `layer-${source}`)
    writeFileSync(path, words)
    return { path, pages: 3000 }
  })
  const children: ChildProcess[] = []
  const startChild = (script: string, args: readonly string[], log: string) => {
    const stderr = openSync(log, 'w', 0o600)
    const child = spawn(process.execPath, [script, ...args], { stdio: ['pipe', 'pipe', stderr] })
    children.push(child)
    child.stdin?.on('error', () => {})
    return child
  }
  const vmm = startChild(fakeVmm, [], join(directory, 'vmm.log'))
  const lines = createInterface({ input: vmm.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]()
  const answer = async () => {
    const { value, done } = await lines.next()
    if (done) throw new Error(`the fake VMM ended: ${readFileSync(join(directory, 'vmm.log'), 'utf8')}`)
    return JSON.parse(value) as unknown
  }
  await answer()
  const config: PageServerConfig = {
    vmm: identityOf(vmm),
    directory,
    socketPath: join(directory, 'uffd.sock'),
    socketOwner: null,
    controlPath: files.control,
    layers,
    map,
    randomAccess: false,
    workingSetPath: null,
    graduate: false,
    faultCpu: null,
    frozen: null,
    ...change,
  }
  const runtime = asked === ownRuntime ? directory : (asked ?? sharedRuntime)
  const order = async <Answer>(value: object): Promise<Answer> => {
    vmm.stdin?.write(`${JSON.stringify(value)}\n`)
    return (await answer()) as Answer
  }
  return {
    directory,
    files,
    config,
    vmm: { identity: config.vmm, child: vmm, order },
    vmmEnded: ended(vmm),
    runtime,
    start: async () => {
      mkdirSync(files.own, { recursive: true, mode: 0o700 })
      writeFileSync(files.config, pageServerConfigToJson(config), { mode: 0o600 })
      return orderService(runtime, files.config)
    },
    attach: async () => {
      const { address } = await order<{ address: number }>({ op: 'memory', pages: memoryPages })
      const path = config.socketPath
      await order({ op: 'send', path, parts: [handshakeText(address)], descriptors: ['uffd'] })
    },
    death: () => {
      const path = join(directory, 'death.json')
      return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as never) : undefined
    },
    log: () => (existsSync(files.serverLog) ? readFileSync(files.serverLog, 'utf8') : ''),
    [Symbol.asyncDispose]: async () => {
      for (const child of children) child.kill('SIGKILL')
      await Promise.all(children.map(ended))
      const left = readdirSync(directory).filter((name) => name.endsWith('.new'))
      await removeWhileUsed(directory)
      if (left.length > 0) throw new Error(`left behind: ${left.join(', ')}`)
    },
  }
}

/**
 * A page server of its own may still be ending, and puts files there until it sees that its directory has
 * gone.
 */
async function removeWhileUsed(directory: string): Promise<void> {
  for (let tries = 0; ; tries++) {
    try {
      return rmSync(directory, { recursive: true, force: true })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOTEMPTY' || tries === 100) throw error
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  }
}

function identityOf(child: ChildProcess): ProcessIdentity {
  const identity = child.pid === undefined ? undefined : processIdentity(child.pid)
  if (identity === undefined) throw new Error('a process did not start')
  return identity
}

async function ended(child: ChildProcess): Promise<Ended> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  return { code: child.exitCode, signal: child.signalCode }
}

/**
 * Sends text on the control socket and gives the lines that come until `answers` of
 * them are there or it is closed.
 */
export async function ask(path: string, text: string, answers: number): Promise<unknown[]> {
  const socket = connect(path)
  const lines: unknown[] = []
  socket.write(text)
  socket.on('error', () => {})
  const input = createInterface({ input: socket })
  input.on('error', () => {})
  for await (const line of input) if (lines.push(JSON.parse(line)) === answers) break
  socket.destroy()
  return lines
}

export const allPages = [...Array(imagePages).keys()]

/** The same "random" order in every run. */
export function shuffled<Value>(values: readonly Value[]): Value[] {
  const result = [...values]
  let seed = 12345
  for (let index = result.length - 1; index > 0; index--) {
    seed = (seed * 1103515245 + 12345) % 2 ** 31
    const other = Math.floor((seed / 2 ** 31) * (index + 1))
    ;[result[index], result[other]] = [result[other] as Value, result[index] as Value]
  }
  return result
}

export async function words(world: PageServerWorld, imagePageNumbers: readonly number[]): Promise<number[]> {
  const pages = imagePageNumbers.map(memoryPageOf)
  return (await world.vmm.order<{ words: number[] }>({ op: 'words', pages })).words
}

/** As `startPageServer` wants it. */
export const optionsOf = ({ config, runtime }: PageServerWorld) => {
  const { controlPath: _, workingSetPath: __, frozen: ___, ...options } = config
  return { ...options, runtime }
}

/** Waits for what other processes do in their own time, within reason. */
export async function eventually(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 30_000; !(await holds()); ) {
    if (performance.now() > end) throw new Error(`did not become true: ${holds}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
