/**
 * `varve/working-sets`: sets of pages and their algebra; recorders; working sets as values and as files:
 * combine, compare and translate them, and count their pages by class.
 */

export { atLeast } from './memory/at-least.js'
export {
  type ClassifyInput,
  classify,
  classOf,
  countClasses,
  type PageClass,
  type PageClasses,
  pageClasses,
} from './memory/classes.js'
export { cellCounts, dominantClass, type GridSize, type HeatMap, heatMap } from './memory/heat-map.js'
export { pageRange, pageSetFromBytes, pageSetFromPages, pageSetFromRuns } from './memory/make-page-set.js'
export { emptyPageSet, equals, has, type PageRun, type PageSet, pagesOf, runsOf } from './memory/page-set.js'
export { clip, complement, intersect, mergeGaps, minus, union, unionAll } from './memory/page-set-algebra.js'
export { type FittedWorkingSet, fitWorkingSet, type WorkingSetPlaces } from './store/fit-working-set.js'
export { classifyRun, type RunRecord, writtenPages } from './working-set/classify-run.js'
export {
  clipWorkingSet,
  commonOfWorkingSets,
  intersectWorkingSets,
  minusWorkingSets,
  unionOfWorkingSets,
  withGapsMerged,
} from './working-set/combine.js'
export {
  compareSets,
  compareWorkingSets,
  coverage,
  type DriftStep,
  drift,
  type GroupComparison,
  jaccard,
  type SetComparison,
  type WorkingSetComparison,
} from './working-set/compare.js'
export { diffRecorder, type RecordDiffOptions, recordDiff } from './working-set/diff-recorder.js'
export { faultsRecorder, type RecordFaultsOptions, recordFaults } from './working-set/faults-recorder.js'
export { mincoreRecorder, type RecordMincoreOptions, recordMincore } from './working-set/mincore-recorder.js'
export { pagemapRecorder, type RecordPagemapOptions, recordPagemap } from './working-set/pagemap-recorder.js'
export {
  type AnyRecordOptions,
  type JointRecording,
  recorders,
  recordTogether,
} from './working-set/record.js'
export {
  type AfterRecorded,
  type DiffSource,
  type FaultSource,
  type FaultTrace,
  type RecordedPages,
  type Recorder,
  type RecorderName,
  type Recording,
  type RecordingEnd,
  type RecordOptions,
  type RecordTarget,
  recorderNames,
} from './working-set/recording.js'
export { type ImagePlaces, type TranslatedWorkingSet, translateWorkingSet } from './working-set/translate.js'
export {
  assertWorkingSetName,
  assertWorkingSetOf,
  checkWorkingSet,
  type Json,
  maxGroups,
  maxNotesBytes,
  maxNotesDepth,
  presentPages,
  touchOrder,
  type WorkingSet,
  type WorkingSetGroup,
  type WorkingSetPart,
} from './working-set/working-set.js'
export { workingSetFromBytes, workingSetToBytes } from './working-set/working-set-bytes.js'
export {
  readWorkingSet,
  type WorkingSetFileOptions,
  writeWorkingSet,
} from './working-set/working-set-file.js'
export { type WorkingSetOfOptions, workingSetOf } from './working-set/working-set-of.js'
