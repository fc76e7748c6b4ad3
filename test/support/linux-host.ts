import { spawn } from 'node:child_process'
import {
  constants,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { writeFolderDisk } from '@varve/guest/testing'
import { type LabRunOptions, type LabRunResult, nativeLinuxBoots, openNestedLab } from '@varve/lab'
import { findFirecracker } from 'varve'

/** Where scripts boot Linux guests. */
export interface LinuxHost extends AsyncDisposable {
  run(options: LabRunOptions & { readonly script: string }): Promise<Omit<LabRunResult, 'files'>>
}

/**
 * This host if its KVM boots Linux (`nativeLinuxBoots`), else a nested lab. Scripts find the directory of
 * guests by test/nested-lab/guests-here.mjs.
 */
export async function openLinuxHost(guests: string): Promise<LinuxHost> {
  const boots = await nativeLinuxBoots({ binary: await findFirecracker() })
  return boots ? nativeHost(guests) : await nestedHost(guests)
}

/** Root disks are large: the blobs go into the lab as a disk. */
async function nestedHost(guests: string): Promise<LinuxHost> {
  const folder = mkdtempSync(join(tmpdir(), 'varve-guests-'))
  const dataDisk = join(folder, 'blobs.ext4')
  try {
    await writeFolderDisk(join(guests, 'blobs'), dataDisk, { roomBytes: 0 })
    const lab = await openNestedLab({ dataDisk })
    const others = readdirSync(guests, { recursive: true, withFileTypes: true })
      .filter((it) => it.isFile())
      .map((it) => relative(guests, join(it.parentPath, it.name)))
      .filter((path) => !path.startsWith('blobs/'))
    const sent = Object.fromEntries(others.map((path) => [`guests/${path}`, join(guests, path)]))
    return {
      run: (options) =>
        lab.run({
          ...options,
          files: { ...sent, ...options.files },
          env: { VARVE_BLOBS_DISK: '/dev/vdd', ...options.env },
        }),
      [Symbol.asyncDispose]: () => lab.close(),
    }
  } finally {
    // QEMU has it open; without a name it cannot be left behind.
    rmSync(folder, { recursive: true })
  }
}

const nodeModules = fileURLToPath(new URL('../../node_modules', import.meta.url))

/**
 * Runs scripts of the nested lab on this host, each in a folder of its own with what the lab gives it there.
 */
export function nativeHost(guests?: string): LinuxHost {
  const root = mkdtempSync(join(tmpdir(), 'varve-native-'))
  symlinkSync(nodeModules, join(root, 'node_modules'))
  let runs = 0
  return {
    run: async ({ script, args = [], files = {}, env = {}, timeoutMs = 120_000, onOutput, signal }) => {
      const folder = join(root, String(++runs))
      const result = join(folder, 'result.json')
      if (guests !== undefined)
        cpSync(guests, join(folder, 'guests'), { recursive: true, mode: constants.COPYFILE_FICLONE })
      for (const [name, path] of Object.entries({ ...files, 'script.mjs': script })) {
        mkdirSync(dirname(join(folder, name)), { recursive: true, mode: 0o700 })
        copyFileSync(path, join(folder, name))
      }
      const directories = { TMPDIR: join(folder, 'tmp'), VARVE_RUNTIME_DIR: join(folder, 'run') }
      for (const path of Object.values(directories)) mkdirSync(path, { mode: 0o700 })
      const child = spawn(process.execPath, [join(folder, 'script.mjs'), ...args], {
        cwd: folder,
        env: { ...process.env, ...directories, VARVE_LAB_RESULT: result, ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
        timeout: timeoutMs,
        killSignal: 'SIGKILL',
        signal,
      })
      const said = { stdout: '', stderr: '' }
      for (const stream of ['stdout', 'stderr'] as const)
        child[stream].setEncoding('utf8').on('data', (text: string) => {
          said[stream] += text
          onOutput?.(text, stream)
        })
      const [exitCode, endedBy] = await new Promise<[number | null, string | null]>((resolve, reject) => {
        child.on('error', reject)
        child.on('close', (...ended) => resolve(ended))
      })
      const text = existsSync(result) ? readFileSync(result, 'utf8') : undefined
      return { exitCode, signal: endedBy, ...said, result: text && JSON.parse(text) }
    },
    [Symbol.asyncDispose]: async () => rmSync(root, { recursive: true }),
  }
}
