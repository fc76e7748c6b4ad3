import { loadavg } from 'node:os'
import { deviceReadBytes, MicroConsole } from '@varve/lab'
import { launchMachine, residentBytes } from 'varve'
import { hundredths, tenths } from '../common/numbers.js'
import { contender, type Image, type Started } from './contenders.js'
import { type Launch, type Pass, touch } from './images.js'
import type { RestoreRow } from './rows.js'

export type Measured = Omit<RestoreRow, 'memoryMib' | 'setMib' | 'cache' | 'contender' | 'round'>

/** One of the restores that were asked for at once. */
interface Restored extends Started {
  readonly guest: MicroConsole
  readonly restoredMs: number
  readonly firstMs: number
  readonly lastMs: number
}

export interface MeasureOptions {
  readonly launch: Launch
  readonly handler: string
  readonly pass: Pass
  /** So many restores at once; times are those of the last. Default 1. */
  readonly clones?: number
}

/** Restores, touches everything, and the same once more, warm. */
export async function measure(name: string, image: Image, options: MeasureOptions): Promise<Measured> {
  const { launch, handler, pass, clones = 1 } = options
  const { ahead, start } = contender(name)
  const waiting = await Promise.all(
    Array.from({ length: clones }, async () => (ahead ? launchMachine(launch) : undefined)),
  )
  const readBytes = () => deviceReadBytes(image.flat) ?? 0
  const readBefore = readBytes()
  const load = loadavg()[0] ?? Number.NaN
  const begin = performance.now()
  const since = () => performance.now() - begin
  const all = await Promise.all(
    waiting.map(async (launched): Promise<Restored> => {
      const started = await start(image, { launch, launched, handler })
      const restoredMs = since()
      const guest = MicroConsole.attach(started.machine.paths)
      await guest.ping()
      const firstMs = since()
      await touch(guest, pass)
      return { ...started, guest, restoredMs, firstMs, lastMs: since() }
    }),
  )
  const readMib = tenths((readBytes() - readBefore) / 2 ** 20)
  try {
    const again = performance.now()
    await Promise.all(all.map(({ guest }) => touch(guest, pass)))
    const warmPassMs = hundredths(performance.now() - again)
    const most = (field: 'restoredMs' | 'firstMs' | 'lastMs') =>
      hundredths(Math.max(...all.map((it) => it[field])))
    const [{ report, machine }] = all as [Restored]
    const phases = Object.entries(report.phasesMs).map(([phase, ms]) => [phase, hundredths(ms)] as const)
    return {
      restoredMs: most('restoredMs'),
      firstMs: most('firstMs'),
      lastMs: most('lastMs'),
      warmPassMs,
      readMib,
      load: hundredths(load),
      rssMib: Math.round((residentBytes(machine.pid) ?? 0) / 2 ** 20),
      ...(report.reason ? { reason: report.reason } : {}),
      phasesMs: Object.fromEntries(phases),
    }
  } finally {
    for (const { guest, machine, endHelper } of all) {
      await guest[Symbol.asyncDispose]()
      await machine.stop()
      await endHelper?.()
    }
  }
}
