import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { stateFormats } from '../formats.js'
import { buildStateFile } from './synthetic-state-file.js'

/** Paths of all state files below a folder of golden files. */
export const goldenStatePaths = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => name === 'state' || name.endsWith('/state'))
    .sort()
    .map((name) => join(folder, name))

/** The golden files and one made file of each format and architecture. */
export function seedStateFiles(goldenFolder: string): Uint8Array[] {
  const golden = goldenStatePaths(goldenFolder).map((path) => new Uint8Array(readFileSync(path)))
  const made = stateFormats.flatMap((format) =>
    (['x86_64', 'aarch64'] as const).map((arch) =>
      buildStateFile({
        format,
        arch,
        vmInfo: {
          memSizeMib: 384,
          smt: true,
          cpuTemplate: 'None',
          kernelPath: 'vmlinux',
          initrdPath: 'initrd',
          bootArgs: undefined,
          hugePages: format.hugePagesKnown ? 'None' : 'not known',
        },
        capModifiers: ['12', '!7'],
        regions: [
          { guestAddress: 0, sizeBytes: 256 * 2 ** 20 },
          { guestAddress: 2 ** 32, sizeBytes: 128 * 2 ** 20 },
          ...(format.record === 'slots'
            ? [
                {
                  guestAddress: 2 ** 39,
                  sizeBytes: 512 * 2 ** 20,
                  type: 'hotpluggable' as const,
                  plugged: [true, false, false, true],
                },
              ]
            : []),
        ],
      }),
    ),
  )
  return [...golden, ...made]
}
