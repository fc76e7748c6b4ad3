import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  realpathSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { pageSizeBytes } from 'varve'
import { byteOffset, guestAddress } from 'varve/state-files'
import { dropPageCache, residentPages } from 'varve/testing'
import { emptyPageSet, pageSetFromPages } from 'varve/working-sets'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type NativeAgent, nativeAgent } from '../agent/agent-fixture.js'
import { explainSet } from './explain-set.js'
import { guestFrames } from './guest-frames.js'
import { readOwnerReport } from './owner-report.js'

/** Page frame numbers are shown to CAP_SYS_ADMIN only, which a container may lack though it runs as root. */
const seesFrames = framesOf(process.pid, (it) => it.includes('[stack]')).some((frame) => frame !== 0)

/** Frames of the present pages of the mappings that `wanted` takes the line of, read here from the kernel. */
function framesOf(pid: number, wanted: (line: string) => boolean): number[] {
  const pagemap = openSync(`/proc/${pid}/pagemap`, 'r')
  try {
    return readFileSync(`/proc/${pid}/maps`, 'latin1')
      .split('\n')
      .filter((line) => line !== '' && wanted(line))
      .flatMap((line) => {
        const [start = 0, end = 0] = (line.split(' ', 1)[0] ?? '')
          .split('-')
          .map((it) => Number.parseInt(it, 16))
        const entries = Buffer.alloc(((end - start) / pageSizeBytes) * 8)
        readSync(pagemap, entries, 0, entries.length, (start / pageSizeBytes) * 8)
        return Array.from({ length: entries.length / 8 }, (_, i) => entries.readBigUInt64LE(8 * i))
      })
      .filter((entry) => entry >> 63n === 1n)
      .map((entry) => Number(entry & ((1n << 55n) - 1n)))
  } finally {
    closeSync(pagemap)
  }
}

let native: NativeAgent
let child: ChildProcess
beforeAll(async () => {
  native = await nativeAgent()
  // 32 MiB of pages that are written, and stay.
  child = spawn(
    process.execPath,
    ['-e', 'const it = Buffer.alloc(32 << 20, 1); console.log("up"); setInterval(() => it[0]++, 1e6)'],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  )
  await once(child.stdout as NonNullable<typeof child.stdout>, 'data')
})
afterAll(async () => {
  child.kill('SIGKILL')
  await native[Symbol.asyncDispose]()
})

/** Explains these frames, as if the host's memory were one image. */
async function explainFrames(frames: readonly number[], filesBelow?: string) {
  const end = frames.reduce((most, it) => Math.max(most, it), 0) + 1
  const image = guestFrames([
    { guestAddress: guestAddress(0), sizeBytes: end * pageSizeBytes, fileOffset: byteOffset(0) },
  ])
  return await explainSet({ readOnly: pageSetFromPages(frames), written: emptyPageSet }, end, image, {
    owners: native.agent.pageOwners({ filesBelow }),
    frameFlags: undefined,
    resources: undefined,
  })
}

test.runIf(seesFrames)('the pages that a process has written are its own anonymous memory', async () => {
  const pid = child.pid as number
  const large = (line: string) => {
    const [start = 0, end = 0] = (line.split(' ', 1)[0] ?? '').split('-').map((it) => Number.parseInt(it, 16))
    return / rw-p .* 0\s*$/.test(line) && end - start >= 32 << 20 && end - start < 64 << 20
  }
  const frames = framesOf(pid, large)
  expect(frames.length).toBeGreaterThanOrEqual(8192)
  const { owners, pages } = await explainFrames(frames)
  const own = owners.find(({ part, processes }) => part === 'anonymous' && processes.length === 1)
  expect(own?.processes).toEqual([{ pid, name: expect.stringMatching(/^(node|MainThread)/) }])
  // Within milliseconds the kernel may move some pages.
  expect(own?.pages).toBeGreaterThan(pages * 0.99)
})

test.runIf(seesFrames)('pages of a program are its file’s, with all processes that run it', async () => {
  const path = realpathSync(process.execPath)
  const pid = child.pid as number
  const frames = framesOf(pid, (line) => line.endsWith(path) && line.includes(' r-xp '))
  expect(frames.length).toBeGreaterThan(1000)
  const { owners, pages } = await explainFrames(frames)
  const files = owners.filter(({ part, name }) => part === 'file' && name === path)
  expect(files.reduce((sum, it) => sum + it.pages, 0)).toBeGreaterThan(pages * 0.99)
  for (const { processes } of files) expect(processes.map((it) => it.pid)).toContain(pid)
  // This process runs the same program.
  expect(files.some(({ processes }) => processes.some((it) => it.pid === process.pid))).toBe(true)
})

test.runIf(seesFrames)(
  'files that no process maps are named if they are cached, and are not read',
  async () => {
    const [cached, dropped] = [join(native.directory, 'cached\n'), join(native.directory, 'dropped')]
    for (const path of [cached, dropped]) writeFileSync(path, Buffer.alloc(64 * pageSizeBytes, 7))
    const fd = openSync(dropped, 'r+')
    dropPageCache(fd)
    const cachedPages = () => residentPages(fd, 64).reduce((sum, it) => sum + (it & 1), 0)
    const before = cachedPages()
    expect(before).toBeLessThan(64)
    const runs = new Map<string, { frame: number; count: number }[]>()
    let file = ''
    const { files } = await readOwnerReport(native.agent.pageOwners({ filesBelow: native.directory }), {
      process: () => {},
      mapping: () => {
        file = ''
      },
      file: ({ path }) => {
        file = path
      },
      run: (run) => {
        if (file !== '') runs.set(file, [...(runs.get(file) ?? []), run])
      },
    })
    const of = (path: string) => (runs.get(path) ?? []).reduce((sum, { count }) => sum + count, 0)
    expect(of(cached.replace('\n', '\\012'))).toBe(64)
    expect(of(dropped)).toBe(before)
    expect(cachedPages()).toBe(before)
    closeSync(fd)
    expect(files).toBeGreaterThanOrEqual(1)
    const frames = (runs.get(cached.replace('\n', '\\012')) ?? []).flatMap(({ frame, count }) =>
      Array.from({ length: count }, (_, i) => frame + i),
    )
    const { owners } = await explainFrames(frames, native.directory)
    expect(owners).toMatchObject([
      { part: 'file', name: cached.replace('\n', '\\012'), processes: [], pages: 64 },
    ])
  },
)

test.runIf(seesFrames)(
  'a folder that becomes a link while it is walked leads nowhere else',
  async () => {
    const [tree, other] = [join(native.directory, 'tree'), join(native.directory, 'other')]
    for (const [folder, pages] of [
      [join(tree, 'folder'), 1],
      [other, 2],
    ] as const) {
      mkdirSync(folder, { recursive: true })
      // More names than the host lets the agent send before it reads them.
      for (let n = 0; n < 2_000; n++)
        writeFileSync(join(folder, `${n}${'x'.repeat(200)}`), Buffer.alloc(pages * pageSizeBytes, 7))
    }
    let [files, most, swapped] = [0, 0, false]
    let found = 0
    await readOwnerReport(swapping(native.agent.pageOwners({ filesBelow: tree })), {
      process: () => {},
      mapping: () => {},
      file: () => {
        files++
        found = 0
      },
      run: ({ count }) => {
        found += count
        if (files > 0) most = Math.max(most, found)
      },
    })
    async function* swapping(chunks: AsyncIterable<Uint8Array>) {
      for await (const chunk of chunks) {
        yield chunk
        if (files === 0 || swapped) continue
        swapped = true
        renameSync(join(tree, 'folder'), join(tree, 'moved'))
        symlinkSync(other, join(tree, 'folder'))
      }
    }
    expect({ swapped, files, most }).toEqual({ swapped: true, files: 2_000, most: 1 })
  },
  60_000,
)

test('a folder that is not there is refused', async () => {
  const read = async (filesBelow: string) => {
    for await (const _ of native.agent.pageOwners({ filesBelow }));
  }
  await expect(read('relative')).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  if (seesFrames) await expect(read('/no/such')).rejects.toMatchObject({ code: 'GUEST_REFUSED' })
})
