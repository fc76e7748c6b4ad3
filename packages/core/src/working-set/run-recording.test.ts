import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { VarveError } from '../errors.js'
import { pageRange, pageSetFromPages } from '../memory/make-page-set.js'
import { type PageSet, pagesOf } from '../memory/page-set.js'
import { checkLimits, type Look, type RecordingSource, runRecording } from './run-recording.js'
import { maxGroups } from './working-set.js'

const list = (set: PageSet | null | undefined): number[] => [...pagesOf(set as PageSet)]

/** Gives the looks in their order, then empty ones. */
class ListedSource implements RecordingSource {
  readonly recorder = 'pagemap'
  readonly sees = { present: true, written: true }
  readonly pages = 1000
  readonly poll = { everyMs: 1, due: () => this.due }
  due = false
  closed = 0
  /** For each look, whether it was the last. */
  readonly lasts: boolean[] = []
  readonly #looks: (readonly number[] | Look)[]

  constructor(...looks: (readonly number[] | Look)[]) {
    this.#looks = looks
  }

  look(sinceBegin: () => number, last: boolean): Look | Promise<Look> {
    this.lasts.push(last)
    const look = this.#looks.shift() ?? []
    return 'touched' in look ? look : { touched: [{ atMs: sinceBegin(), set: pageSetFromPages(look) }] }
  }

  describe() {
    return { exact: { present: true, written: false }, notes: { how: 'listed' } }
  }

  close(): void {
    this.closed++
  }
}

const until = async (reached: () => boolean) => {
  while (!reached()) await sleep(1)
}

describe('runRecording', () => {
  test('each look that finds something new is a group, and nothing is found twice', async () => {
    const source = new ListedSource([5, 1], [5, 1], { touched: [], written: pageRange(1, 1) }, [9, 5])
    await using recording = runRecording(source, {})
    for (let look = 0; look < 3; look++) await recording.scan()
    const recorded = await recording.stop()
    expect(recorded.groups.map(({ set }) => list(set))).toEqual([[1, 5], [9]])
    expect(list(recorded.present)).toEqual([1, 5, 9])
    expect(list(recorded.written)).toEqual([1])
    expect(source.lasts).toEqual([false, false, false, true])
    expect(recorded).toMatchObject({
      recorder: 'pagemap',
      scans: 4,
      endedBy: 'stop',
      warning: null,
      exact: { present: true, written: false },
      notes: { how: 'listed' },
    })
    expect(Math.abs(recorded.recordedAtMs - Date.now())).toBeLessThan(60_000)
    expect(Number.isInteger(recorded.windowMs)).toBe(true)
    expect(source.closed).toBe(1)
  })

  test('times of groups do not fall, also where a source goes back', async () => {
    const at = (atMs: number, page: number) => ({ atMs, set: pageSetFromPages([page]) })
    await using recording = runRecording(new ListedSource({ touched: [at(7, 1), at(3, 2), at(9, 3)] }), {})
    expect((await recording.stop()).groups.map(({ atMs }) => atMs)).toEqual([7, 7, 9])
  })

  test('has no more groups than a working-set file holds: the last takes the rest', async () => {
    const touched = Array.from({ length: maxGroups + 2 }, (_, page) => ({
      atMs: page,
      set: pageSetFromPages([page]),
    }))
    await using recording = runRecording(new ListedSource({ touched }), { maxPages: 100_000 })
    const { groups, present } = await recording.stop()
    expect(groups.length).toBe(maxGroups)
    expect(list(groups.at(-1)?.set)).toEqual([maxGroups - 1, maxGroups, maxGroups + 1])
    expect(groups.at(-1)?.atMs).toBe(maxGroups - 1)
    expect(present?.pages).toBe(maxGroups + 2)
  })

  test('looks by itself when its source says that a look is due', async () => {
    const source = new ListedSource([3])
    await using recording = runRecording(source, {})
    await sleep(10)
    expect(recording.scans).toBe(0)
    source.due = true
    await until(() => recording.scans > 0)
    expect(list((await recording.stop()).present)).toEqual([3])
  })

  test('ends itself in time, and stop gives what there was then', async () => {
    const source = new ListedSource([1], [2])
    await using recording = runRecording(source, { maxMs: 20 })
    await until(() => recording.endedBy !== undefined)
    expect(source.closed).toBe(1)
    await recording.scan()
    const recorded = await recording.stop()
    expect(recorded).toMatchObject({ endedBy: 'time', scans: 1 })
    expect(recorded.windowMs).toBeGreaterThan(0)
    expect(list(recorded.present)).toEqual([1])
    expect(source.lasts).toEqual([true])
  })

  test('ends itself at the look that finds as many pages as it may hold, read or written', async () => {
    await using recording = runRecording(new ListedSource([1, 2], [3]), { maxPages: 3 })
    await recording.scan()
    expect(recording.endedBy).toBeUndefined()
    await recording.scan()
    expect(recording.endedBy).toBe('pages')
    await using writes = runRecording(new ListedSource({ touched: [], written: pageRange(0, 3) }), {
      maxPages: 3,
    })
    await writes.scan()
    expect(await writes.stop()).toMatchObject({ endedBy: 'pages', scans: 1 })
  })

  test('ends itself where its source can learn no more', async () => {
    await using recording = runRecording(new ListedSource({ touched: [], ended: 'vmm' }, [1]), {})
    await recording.scan()
    expect(await recording.stop()).toMatchObject({ endedBy: 'vmm', scans: 1 })
  })

  test('warns where the set is a large share of the image', async () => {
    const half = Array.from({ length: 500 }, (_, page) => page)
    const warning = async (pages: readonly number[], warnShare?: number) => {
      await using recording = runRecording(
        new ListedSource(pages),
        warnShare === undefined ? {} : { warnShare },
      )
      return (await recording.stop()).warning
    }
    expect(await warning(half)).toBeNull()
    expect(await warning([...half, 500])).toContain('501 of the image')
    expect(await warning([1, 2, 3], 0.002)).toContain('3 of the image')
  })

  test('a failure while it looks by itself ends it, and the next call throws it', async () => {
    const source = new ListedSource()
    const broken = new VarveError('SYSCALL_FAILED', 'the look failed')
    source.look = () => {
      throw broken
    }
    source.due = true
    const recording = runRecording(source, {})
    await until(() => source.closed === 1)
    await expect(recording.scan()).rejects.toBe(broken)
    await expect(recording.stop()).rejects.toBe(broken)
    await expect(recording.stop()).rejects.toMatchObject({ code: 'MACHINE_STATE' })
    await recording[Symbol.asyncDispose]()
    expect(source.closed).toBe(1)
  })

  test('a failure of a look that was asked for is thrown there, and the next look is a new try', async () => {
    const source = new ListedSource([4])
    const look = source.look.bind(source)
    let tries = 0
    source.look = (sinceBegin, last) => {
      if (++tries === 1) throw new VarveError('SYSCALL_FAILED', 'once')
      return look(sinceBegin, last)
    }
    await using recording = runRecording(source, {})
    await expect(recording.scan()).rejects.toMatchObject({ code: 'SYSCALL_FAILED' })
    expect(list((await recording.stop()).present)).toEqual([4])
  })

  test('an abort during a look ends it after that look, without a result', async () => {
    const source = new ListedSource()
    let finish = () => {}
    const events: string[] = []
    source.look = async () => {
      await new Promise<void>((resolve) => {
        finish = resolve
      })
      events.push('looked')
      return { touched: [] }
    }
    source.close = () => {
      events.push('closed')
    }
    const controller = new AbortController()
    const recording = runRecording(source, { signal: controller.signal })
    const stopping = recording.stop()
    await sleep(1)
    controller.abort()
    finish()
    await expect(stopping).rejects.toMatchObject({ code: 'INTERRUPTED' })
    expect(events).toEqual(['looked', 'closed'])
  })

  test('one whose signal was aborted before gives nothing', async () => {
    const source = new ListedSource([1])
    const recording = runRecording(source, { signal: AbortSignal.abort() })
    await expect(recording.stop()).rejects.toMatchObject({ code: 'INTERRUPTED' })
    expect(source.closed).toBe(1)
    expect(source.lasts).toEqual([])
  })

  test('disposing ends it without a result, any number of times', async () => {
    const source = new ListedSource([1])
    const recording = runRecording(source, {})
    await recording[Symbol.asyncDispose]()
    await recording[Symbol.asyncDispose]()
    expect(source.closed).toBe(1)
    await expect(recording.scan()).rejects.toMatchObject({ code: 'MACHINE_STATE' })
    await expect(recording.stop()).rejects.toMatchObject({ code: 'MACHINE_STATE' })
    expect(source.lasts).toEqual([])
  })
})

describe('checkLimits', () => {
  test.each([
    { maxMs: 0 },
    { maxMs: Number.NaN },
    { maxMs: 2 ** 31 },
    { maxPages: 0 },
    { warnShare: 0 },
    { warnShare: 1.1 },
  ])('refuses %j', (options) => {
    expect(() => checkLimits(options)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })

  test('takes no limit of time at all', () => {
    expect(() => checkLimits({ maxMs: Number.POSITIVE_INFINITY, warnShare: 1 })).not.toThrow()
  })
})
