import {
  bootMicroGuest,
  bringIntoCache,
  defineExperiment,
  dropFromCache,
  type EngineSettingName,
  type ExperimentLab,
  engineSettingNames,
  engineSettings,
  MicroConsole,
  measureVms,
  type PreparedEach,
  pageWord,
  prepareEach,
  restoreBy,
  restoreVanilla,
  type TouchPattern,
  touchedPages,
  type VmWork,
} from '@varve/lab'
import {
  captureSnapshot,
  flattenSnapshot,
  type OpenSnapshot,
  openLocalStore,
  type RunningMachine,
  restoreMachine,
  type SnapshotStore,
} from 'varve'
import { pagesFrom, zeroSource } from 'varve/layers'

/** Of what the guest writes while it is measured. */
const writeSeed = 5
/** Layers of the image that everything but the depth is measured on. */
const usualDepth = 3

interface Touch {
  readonly pattern: TouchPattern
  readonly writes: boolean
}

interface Work {
  readonly touches: readonly Touch[]
  readonly setName: string
  readonly readOnlyPages: number
  readonly writtenPages: number
  /** What reading gave in the VM that the snapshot was taken of. */
  readonly expected: readonly bigint[]
}

interface Guest extends AsyncDisposable {
  readonly store: SnapshotStore
  /** By depth. */
  readonly images: PreparedEach<number, Image>
}

interface Image extends AsyncDisposable {
  readonly tag: string
  readonly snapshot: OpenSnapshot
  /** Everything that a restore may read. */
  readonly files: readonly string[]
  /** By size of the set, MiB. */
  readonly works: ReadonlyMap<number, Work>
}

/** The one guest and set with which the number of clones and of layers is varied. */
const isVaried = (memoryMib: number, setMib: number) => memoryMib === 512 && setMib === 24

export const experiment = defineExperiment({
  name: 'micro',
  question:
    'How long from the request until a restored VM has touched its working set, by engine, and what does it cost?',
  guest: 'micro',
  factors: {
    memoryMib: [512, 2048],
    setMib: [8, 24, 100],
    cache: ['cold', 'warm'],
    /** Asked for at once. */
    clones: [1, 4, 16],
    /** Layers of the image. */
    depth: [1, usualDepth, 8, 64],
    restore: ['warm VM', 'cold boot', 'vanilla', ...engineSettingNames],
  },
  where: ({ memoryMib, setMib, cache, clones, depth, restore }) =>
    // Neither restores anything: there is nothing to be cold, to be shared, or to lie in layers.
    restore === 'warm VM' || restore === 'cold boot'
      ? cache === 'warm' && clones === 1 && depth === usualDepth
      : (clones === 1 && depth === usualDepth) ||
        (isVaried(memoryMib, setMib) && cache === 'warm' && (clones === 1 || depth === usualDepth)),
  // The ideal of the literature: a plain snapshot, all of it in the page cache.
  compare: { factor: 'restore', baseline: { restore: 'vanilla', cache: 'warm' } },
  rounds: 20,
  warmUp: ({ cache, setMib, clones, depth }) =>
    cache === 'warm' && setMib === 8 && clones === 1 && depth === usualDepth,
  prepare: async (lab) => {
    const guests = await prepareEach(lab.factors.memoryMib, (memoryMib) => prepareGuest(memoryMib, lab))
    const launch = { binary: lab.binary, runtimeDirectory: lab.runtimeDirectory, signal: lab.signal }
    return {
      measure: async ({ memoryMib, setMib, cache, clones, depth, restore }) => {
        const { store, images } = guests.of(memoryMib)
        const { tag, snapshot, files, works } = images.of(depth)
        const work = works.get(setMib) as Work
        if (cache === 'cold') dropFromCache(files)
        else bringIntoCache(files)
        const common = { ...passes(work), clones, watched: snapshot.statePath }
        if (restore === 'cold boot') return measureBoot(memoryMib, work, common, launch)
        const vanilla = { ...common, start: () => restoreVanilla(snapshot, launch) }
        if (restore === 'warm VM') return measureVms({ ...vanilla, warm: (it) => vanilla.work(it) })
        if (restore === 'vanilla') return measureVms(vanilla)
        const setting = engineSettings[restore as EngineSettingName]
        const { correct, measures, phasesMs } = await measureVms({
          ...common,
          start: () => restoreBy(setting, store, tag, { ...launch, set: work.setName }),
        })
        const { readOnlyPages, writtenPages } = work
        const ofSet =
          'set' in setting ? { setReadOnlyPages: readOnlyPages, setWrittenPages: writtenPages } : {}
        return { correct, measures: { ...measures, ...ofSet }, ...(phasesMs ? { phasesMs } : {}) }
      },
      [Symbol.asyncDispose]: () => guests[Symbol.asyncDispose](),
    }
  },
})

/**
 * A set as measured ones are: runs of five pages all over the guest, each run four pages read and one
 * written, in an order of their own.
 */
function touchesOf(memoryMib: number, setMib: number): readonly Touch[] {
  const first = 1024
  const runs = Math.floor((setMib * 256) / 5)
  const stride = Math.floor((memoryMib * 256 - 2 * first) / runs)
  return [0, 1, 2, 3, 4].map((offset) => ({
    writes: offset === 4,
    pattern: { start: first + offset, count: runs, stride, order: 7 + offset },
  }))
}

/** One chain, three quarters of it data, with an image after each number of layers that is asked for. */
async function prepareGuest(memoryMib: number, lab: MicroLab): Promise<Guest> {
  const { binary, runtimeDirectory, signal, factors } = lab
  const setsAt = (depth: number) =>
    factors.setMib.filter((setMib) => depth === usualDepth || isVaried(memoryMib, setMib))
  const depths = factors.depth.filter((depth) => setsAt(depth).length > 0)
  lab.say(`taking snapshots of a guest of ${memoryMib} MiB`)
  const store = await openLocalStore(`${lab.directory}/store-${memoryMib}`, { create: true })
  /** What each pass reads in the image, by depth and size of the set. */
  const expected = new Map<number, Map<number, bigint[]>>()
  {
    const { machine, console: guest } = await bootMicroGuest({ memoryMib, binary, runtimeDirectory, signal })
    let running: RunningMachine = machine
    try {
      const area = { start: 1024, count: memoryMib * 256 - 2048 }
      const quarter = Math.floor(area.count / 4)
      // A word a page makes it data; filling them, word by word and emulated, takes a minute.
      for (let part = 0; part < 4; part++)
        await guest.write({ start: area.start + part * quarter, count: Math.floor(quarter * 0.75) }, 1)
      for (let depth = 1; depth <= Math.max(...depths); depth++) {
        if (depth > 1) await guest.write({ start: area.start, count: 1000, stride: 120, order: 3 }, depth)
        if (depths.includes(depth)) {
          const values = new Map<number, bigint[]>()
          for (const setMib of setsAt(depth))
            values.set(
              setMib,
              await touch(
                guest,
                touchesOf(memoryMib, setMib).filter(({ writes }) => !writes),
              ),
            )
          expected.set(depth, values)
        }
        const paused = await running.pause()
        const parent = depth === 1 ? {} : { parent: tagOf(depth - 1) }
        await captureSnapshot(paused, { store, tags: [tagOf(depth)], ...parent, signal })
        running = await paused.resume()
      }
    } finally {
      await guest[Symbol.asyncDispose]()
      await running.stop()
    }
  }
  const images = await prepareEach(depths, async (depth) => {
    const tag = tagOf(depth)
    const works = new Map<number, Work>()
    for (const setMib of setsAt(depth)) {
      const work = await recordWork(store, memoryMib, setMib, depth, lab)
      works.set(setMib, { ...work, expected: expected.get(depth)?.get(setMib) ?? [] })
    }
    const snapshot = await store.open(tag)
    const { path: flat } = await flattenSnapshot(snapshot)
    return {
      tag,
      snapshot,
      files: [flat, snapshot.statePath, ...snapshot.files.map(({ path }) => path)],
      works,
      [Symbol.asyncDispose]: () => snapshot[Symbol.asyncDispose](),
    }
  })
  return { store, images, [Symbol.asyncDispose]: () => images[Symbol.asyncDispose]() }
}

const tagOf = (depth: number) => `depth-${depth}`

/** Touches a set once, and keeps what the guest's faults say of it. */
async function recordWork(
  store: SnapshotStore,
  memoryMib: number,
  setMib: number,
  depth: number,
  lab: MicroLab,
): Promise<Omit<Work, 'expected'>> {
  const { binary, runtimeDirectory, signal } = lab
  lab.say(`recording a working set of ${setMib} MiB, ${depth} layers`)
  const tag = tagOf(depth)
  const touches = touchesOf(memoryMib, setMib)
  const { machine, recording } = await restoreMachine(store, tag, {
    binary,
    runtimeDirectory,
    signal,
    engine: 'paged',
    record: { recorders: ['faults'], maxMs: 120_000 },
  })
  await using _machine = machine
  await using guest = MicroConsole.attach(machine.paths)
  await touch(guest, touches)
  if (recording === undefined) throw new Error('a recording that was asked for is not there')
  const { workingSet } = await recording.stop()
  const setName = `touches-${setMib}`
  await store.saveWorkingSet(tag, setName, workingSet)
  if (depth === usualDepth) {
    await using snapshot = await store.open(tag)
    const zero = pagesFrom(snapshot.map, zeroSource)
    lab.keepSet(`${memoryMib} MiB guest, ${setMib} MiB`, { memoryMib, setMib }, workingSet, zero)
  }
  return {
    touches,
    setName,
    readOnlyPages: workingSet.readOnly.pages,
    writtenPages: workingSet.written.pages,
  }
}

async function touch(guest: MicroConsole, touches: readonly Touch[]): Promise<bigint[]> {
  const values: bigint[] = []
  for (const { pattern, writes } of touches)
    if (writes) await guest.write(pattern, writeSeed)
    else values.push((await guest.read(pattern)).value)
  return values
}

/** What preparing needs of the lab and of the plan. */
type MicroLab = Omit<ExperimentLab, 'factors'> & {
  readonly factors: { readonly depth: readonly number[]; readonly setMib: readonly number[] }
}

const isEqual = (a: readonly bigint[], b: readonly bigint[]) =>
  a.length === b.length && a.every((value, index) => value === b[index])

/** What it reads is what it read before the snapshot; what it wrote is there at the end. */
function passes({ touches, expected }: Work): Omit<VmWork<MicroConsole>, 'start' | 'watched'> {
  return {
    attach: (machine) => MicroConsole.attach(machine.paths),
    first: (guest) => guest.ping(),
    work: async (guest) => isEqual(await touch(guest, touches), expected),
    check: async (guest) => {
      for (const { pattern, writes } of touches) {
        if (!writes) continue
        const words = touchedPages(pattern).map((page) => pageWord(page, writeSeed))
        const { value } = await guest.read(pattern)
        if (value !== words.reduce((all, word) => all ^ word, 0n)) return false
      }
      return true
    },
  }
}

/** The guest boots, answers, and touches the same pages: they are all zero. */
function measureBoot(
  memoryMib: number,
  work: Work,
  common: Omit<VmWork<MicroConsole>, 'start'>,
  launch: Pick<ExperimentLab, 'binary' | 'runtimeDirectory' | 'signal'>,
) {
  const zeros = work.expected.map(() => 0n)
  let booted: MicroConsole | undefined
  return measureVms({
    ...common,
    work: async (guest) => isEqual(await touch(guest, work.touches), zeros),
    // With its first answer: a booting guest says that it is there.
    start: async () => {
      const { machine, console: guest } = await bootMicroGuest({ memoryMib, ...launch })
      booted = guest
      return { machine }
    },
    attach: () => booted as MicroConsole,
  })
}
