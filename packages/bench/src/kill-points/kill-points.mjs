// Kills a process at every change on disk that it makes to a store, and looks at what is left each time:
//   node packages/bench/src/kill-points/kill-points.mjs [--json] [--write] [--every N] [OPERATION…]
// after npm run build. --every N takes each Nth change only; --write puts the table into
// docs/results/kill-points.md. Exit status 1 if anything was lost.
import { execFile } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs, promisify } from 'node:util'
import { openLocalStore } from 'varve'
import { isImage, makeTemplate, possible, promised } from './world.mjs'

const operations = [
  'create',
  'capture a base',
  'capture a child',
  'move a tag',
  'remove a snapshot',
  'squash',
  'pack',
  'flatten',
  'gc',
  'export',
  'import',
]
const operate = fileURLToPath(new URL('operate.mjs', import.meta.url))
const run = promisify(execFile)

const { values, positionals } = parseArgs({
  options: { json: { type: 'boolean' }, write: { type: 'boolean' }, every: { type: 'string', default: '1' } },
  allowPositionals: true,
})
// In memory if there is such a place: what a killed process leaves is the same
// there, and syncing costs nothing.
const work = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'varve-kill-'))
process.once('exit', () => rmSync(work, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(130))
const template = join(work, 'template')
mkdirSync(template)
await makeTemplate(template)

const every = Number(values.every)
let serial = 0
function fresh() {
  const directory = join(work, `run-${serial++}`)
  cpSync(template, directory, { recursive: true, preserveTimestamps: true })
  return directory
}

const rows = []
const problems = []
for (const operation of positionals.length > 0 ? positionals : operations) {
  const directory = fresh()
  const trace = JSON.parse((await run(process.execPath, [operate, operation, directory, '-1'])).stdout)
  problems.push(...checkOrder(operation, trace, directory))
  problems.push(...(await inspect(`${operation}, not killed`, directory, operation)).problems)
  rmSync(directory, { recursive: true })
  const outcomes = { done: 0, undone: 0 }
  const kinds = {}
  // Two at once: one waits for its process to start while the other looks at what is left.
  const points = trace.map((mutation, k) => ({ mutation, k })).filter(({ k }) => k % every === 0)
  await Promise.all(
    [0, 1].map(async (half) => {
      for (const { mutation, k } of points.filter((_, at) => at % 2 === half)) {
        const place = fresh()
        const ended = await run(process.execPath, [operate, operation, place, String(k)]).then(
          () => 'ran through',
          (error) => error.signal ?? `exit ${error.code}: ${error.stderr}`,
        )
        const what = `${operation}, killed before change ${k} (${mutation.kind} of ${mutation.path.replace(directory, '')})`
        if (ended !== 'SIGKILL') problems.push(`${what}: ${ended}`)
        const found = await inspect(what, place, operation)
        problems.push(...found.problems)
        outcomes[found.done ? 'done' : 'undone']++
        kinds[mutation.kind] = (kinds[mutation.kind] ?? 0) + 1
        rmSync(place, { recursive: true })
      }
    }),
  )
  rows.push({ operation, points: points.length, kinds, ...outcomes })
  if (!values.json) console.log(`${operation}: killed ${points.length} times`)
}

const total = rows.reduce((sum, { points }) => sum + points, 0)
if (values.json) console.log(JSON.stringify({ total, rows, problems }))
else console.log(`${total} kill points, ${problems.length} problems`, problems.slice(0, 20).join('\n'))
if (values.write) writeFileSync(new URL('../../../../docs/results/kill-points.md', import.meta.url), page())
process.exitCode = problems.length === 0 ? 0 : 1

/** The store after a kill: it opens, nothing is wrong or lost, and gc leaves nothing that fsck could name. */
async function inspect(what, directory, operation) {
  const found = []
  const check = (ok, detail) => {
    if (!ok) found.push(`${what}: ${detail}`)
  }
  let done = false
  try {
    if (operation === 'create') {
      done = existsSync(join(directory, 'fresh/oci-layout'))
      const made = await openLocalStore(join(directory, 'fresh'), { create: true })
      check((await made.list()).length === 0, 'a new store is not empty')
      await made.gc()
      check((await made.fsck()).findings.length === 0, 'fsck of a new store finds something')
    }
    const store = await openLocalStore(join(directory, 'store'))
    const before = await store.fsck()
    for (const { severity, message } of before.findings)
      if (severity === 'error') check(false, `fsck: ${message}`)
    done ||= await isDone(store, operation, directory)
    for (const [tag, seeds] of Object.entries(promised))
      check(await isImage(store, tag, seeds, directory), `${tag} is not what it was`)
    for (const tag of (await store.list()).flatMap(({ tags }) => tags)) {
      if (tag in promised) continue
      check(tag in possible, `there is a tag ${tag}`)
      if (tag in possible) check(await isImage(store, tag, possible[tag], directory), `${tag} is wrong`)
    }
    const named = (await store.list()).filter(({ tags }) => tags.length > 0).map(({ id }) => id)
    await store.gc()
    const kept = (await store.list()).map(({ id }) => id)
    check(String(named) === String(kept), `gc kept ${kept}, named were ${named}`)
    const after = await store.fsck()
    for (const { message, path } of after.findings) check(false, `fsck after gc: ${message} (${path})`)
  } catch (error) {
    check(false, error.stack)
  }
  return { problems: found, done }
}

/** Whether the operation took place, as a user would see it. */
async function isDone(store, operation, directory) {
  const has = async (ref) => (await store.list()).some(({ tags }) => tags.includes(ref))
  const layers = async (ref) => (await store.describe(ref)).layers
  switch (operation) {
    case 'capture a base':
      return has('new')
    case 'capture a child':
      return has('child')
    case 'move a tag':
      return has('moved')
    case 'squash':
      return (await layers('two')).length === 2
    case 'pack':
      return (await layers('base'))[0].annotations['dev.varve.stored-pages'] !== '64'
    case 'flatten':
      return existsSync(join(directory, 'store/varve/flat', (await store.resolve('one')).id))
    case 'gc':
      return (await store.list()).length === 4
    case 'export':
      return existsSync(join(directory, 'out.tar'))
    case 'import':
      return has('foreign-child')
    default:
      return false
  }
}

/**
 * What a power cut needs in addition: no file gets a lasting name before its bytes are on disk,
 * no reference before its blobs.
 */
function checkOrder(operation, trace, directory) {
  const found = []
  const unsynced = new Set()
  let blobsNamed = false
  for (const { kind, path, from } of trace) {
    const place = path.replace(directory, '')
    if (['create', 'write', 'truncate', 'clone', 'copy'].includes(kind)) unsynced.add(path)
    else if (kind === 'fsync') {
      unsynced.delete(path)
      if (place.endsWith('/blobs/sha256')) blobsNamed = false
    } else if (kind === 'rename' || kind === 'link') {
      const lasting = !/\/varve\/(leases|verified|garbage|staging)\/|\.mark$/.test(place)
      if (lasting && unsynced.has(from))
        found.push(`${operation}: ${place} got its name before it was synced`)
      if (place.includes('/blobs/sha256/')) blobsNamed = true
      if (place.endsWith('/index.json') && blobsNamed)
        found.push(`${operation}: index.json was replaced before the blobs' names were synced`)
    }
  }
  return found
}

function page() {
  const line = ({ operation, points, kinds, done, undone }) =>
    `| ${operation} | ${points} | ${Object.entries(kinds)
      .sort()
      .map(([kind, count]) => `${count} ${kind}`)
      .join(', ')} | ${undone} | ${done} |`
  return `# Kill points

\`node packages/bench/src/kill-points/kill-points.mjs --write\` kills a process with SIGKILL before each change that it makes on disk (every one goes
through \`sys/mutations.ts\`), once each, on a store with a chain of three snapshots, and looks at what is left. Each time: the store
opens, \`fsck\` finds no error, the three snapshots are byte-identical, what was interrupted is there whole or not at all, \`gc\`
removes the rest, and \`fsck\` finds nothing more. From the changes in their order: no file gets a lasting name before it was
synced, and no reference is written before the names of its blobs were.

| operation | kill points | changes | found undone | found done |
|---|---|---|---|---|
${rows.map(line).join('\n')}
| **all** | **${total}** | | | **${problems.length} problems** |

"Done" before the last change is right too: what follows the new index.json is cleaning up. A test repeats it at
each third change (\`test/stress/kill-points.test.ts\`).
`
}
