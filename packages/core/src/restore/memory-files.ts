import type { RecordTarget } from '../working-set/recording.js'

/** What a VM's memory comes from: layers with a map of theirs, or one flat file without. */
export type MemoryFiles = Pick<RecordTarget, 'files' | 'map'>
