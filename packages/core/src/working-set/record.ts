import { VarveError } from '../errors.js'
import { diffRecorder, type RecordDiffOptions } from './diff-recorder.js'
import { faultsRecorder, type RecordFaultsOptions } from './faults-recorder.js'
import { mincoreRecorder, type RecordMincoreOptions } from './mincore-recorder.js'
import { pagemapRecorder, type RecordPagemapOptions } from './pagemap-recorder.js'
import {
  type RecordedPages,
  type Recorder,
  type RecorderName,
  type Recording,
  type RecordTarget,
  recorderNames,
} from './recording.js'

/** Those of every recorder; each takes what it knows. */
export type AnyRecordOptions = RecordMincoreOptions &
  RecordPagemapOptions &
  RecordFaultsOptions &
  RecordDiffOptions

/** Every recorder, by its name. */
export const recorders: Readonly<Record<RecorderName, Recorder<AnyRecordOptions>>> = {
  mincore: mincoreRecorder,
  pagemap: pagemapRecorder,
  faults: faultsRecorder,
  diff: diffRecorder,
}

/** Several recordings of one VM at the same time. As with one: `stop` once, dispose any number of times. */
export interface JointRecording extends AsyncDisposable {
  /** Each recording, in the order in which the recorders were named. */
  readonly recordings: readonly Recording[]
  /** Looks now, by each recorder. */
  scan(): Promise<void>
  /** What each recorded, in the order in which they were named. If one fails all are ended. */
  stop(): Promise<readonly RecordedPages[]>
}

/**
 * Starts recorders one after the other; if one refuses, none is left.
 * INVALID_ARGUMENT for none, or one twice.
 */
export async function recordTogether(
  target: RecordTarget,
  names: readonly RecorderName[],
  options: AnyRecordOptions = {},
): Promise<JointRecording> {
  checkNames(names)
  const recordings: Recording[] = []
  const dispose = async () => {
    for (const recording of recordings) await recording[Symbol.asyncDispose]()
  }
  try {
    for (const name of names) recordings.push(await recorders[name].start(target, options))
  } catch (error) {
    await dispose()
    throw error
  }
  return {
    recordings,
    scan: async () => {
      for (const recording of recordings) await recording.scan()
    },
    stop: async () => {
      try {
        const stopped = new Map<Recording, RecordedPages>()
        for (const recording of lastLooks(recordings)) stopped.set(recording, await recording.stop())
        return recordings.map((recording) => stopped.get(recording) as RecordedPages)
      } finally {
        await dispose()
      }
    },
    [Symbol.asyncDispose]: dispose,
  }
}

function checkNames(names: readonly RecorderName[]): void {
  const known: readonly string[] = recorderNames
  const wrong = names.find((name, index) => !known.includes(name) || names.indexOf(name) !== index)
  if (wrong !== undefined)
    throw new VarveError('INVALID_ARGUMENT', `recorder "${wrong}" is not known, or named twice`, {
      remedy: `recorders are ${recorderNames.join(', ')}`,
    })
  if (names.length === 0) throw new VarveError('INVALID_ARGUMENT', 'no recorder is named')
}

/** A Diff takes time and touches memory itself: the others look before it. */
const lastLooks = (recordings: readonly Recording[]): readonly Recording[] => [
  ...recordings.filter(({ recorder }) => recorder !== 'diff'),
  ...recordings.filter(({ recorder }) => recorder === 'diff'),
]
