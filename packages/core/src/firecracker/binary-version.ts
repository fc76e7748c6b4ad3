import { createHash, randomBytes } from 'node:crypto'
import { lstatSync, mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { cacheDirectory } from '../cache-directory.js'
import { replaceSmallFile } from '../sys/mutations.js'
import { readSmallFile } from '../sys/small-file.js'
import { type CommandOptions, runCommand } from './run-command.js'
import { type FirecrackerVersion, formatFirecrackerVersion, parseFirecrackerVersion } from './version.js'

interface VersionOptions extends CommandOptions {
  readonly env?: NodeJS.ProcessEnv | undefined
}

/** A version, and the identity of the file that gave it. */
const maxNoteBytes = 8192

/** Answers that this process has had. */
const known = new Map<string, FirecrackerVersion>()

/**
 * Asks each file once for `firecracker --version`. The answer is kept in this process and in the cache
 * directory, as long as path, inode, size and times are the same. Errors: those of `runCommand`;
 * FORMAT_INVALID if the file is no Firecracker.
 */
export async function binaryVersion(path: string, options: VersionOptions = {}): Promise<FirecrackerVersion> {
  const identity = identityOf(path)
  const found = known.get(identity)
  if (found !== undefined) return found
  const note = notePath(path, options.env)
  let version = readNote(note, identity)
  if (version === undefined) {
    const { env: _, ...command } = options
    const text = await runCommand(path, ['--version'], { ...command, timeoutMs: 10_000 })
    version = parseFirecrackerVersion(text.split('\n')[0] ?? '')
    // The file may have been replaced while it was asked.
    if (identityOf(path) === identity) writeNote(note, identity, version)
  }
  known.set(identity, version)
  return version
}

/** Identity of the content: a change of content changes the ctime, and no program can set the ctime. */
function identityOf(path: string): string {
  const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true })
  return `${path}\n${dev} ${ino} ${size} ${mtimeNs} ${ctimeNs}`
}

const notePath = (path: string, env: NodeJS.ProcessEnv | undefined): string =>
  join(cacheDirectory(env), 'versions', createHash('sha256').update(path).digest('hex').slice(0, 32))

function readNote(note: string, identity: string): FirecrackerVersion | undefined {
  try {
    const { uid, mode } = lstatSync(note)
    // In a directory of another user the note could name any version.
    if (uid !== process.getuid?.() || (mode & 0o022) !== 0) return undefined
    const { identity: of, version } = JSON.parse(readSmallFile(note, maxNoteBytes).toString('utf8'))
    return of === identity ? parseFirecrackerVersion(String(version)) : undefined
  } catch {
    return undefined
  }
}

/** Only saves time: if the note cannot be written, the next process asks the binary again. */
function writeNote(note: string, identity: string, version: FirecrackerVersion): void {
  try {
    mkdirSync(join(note, '..'), { recursive: true, mode: 0o700 })
    const text = JSON.stringify({ identity, version: formatFirecrackerVersion(version) })
    replaceSmallFile(note, `${note}.${randomBytes(6).toString('hex')}`, Buffer.from(text))
  } catch {}
}
