import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'

/**
 * How far the kernel reads around a fault, in KiB: a setting of the block
 * device, copied when a file is opened.
 */
export function readAheadKb(path: string): number | null {
  const setting = settingOf(path)
  return setting === undefined ? null : Number(readFileSync(setting, 'latin1'))
}

/**
 * For everybody on that device, so for a device of one's own only. Root. False if there is no such setting.
 */
export function setReadAheadKb(path: string, kb: number): boolean {
  const setting = settingOf(path)
  if (setting === undefined) return false
  writeFileSync(setting, `${kb}\n`)
  return true
}

/** Whole disks have a `bdi` of their number; a partition has that of its disk. */
function settingOf(path: string): string | undefined {
  const { dev } = statSync(path, { bigint: true })
  // makedev(3): 32 bits each, interleaved.
  const major = ((dev >> 8n) & 0xfffn) | ((dev >> 32n) & 0xfffff000n)
  const minor = (dev & 0xffn) | ((dev >> 12n) & 0xffffff00n)
  return [
    `/sys/class/bdi/${major}:${minor}/read_ahead_kb`,
    `/sys/dev/block/${major}:${minor}/../queue/read_ahead_kb`,
  ].find((candidate) => existsSync(candidate))
}
