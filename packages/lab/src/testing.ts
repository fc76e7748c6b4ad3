/**
 * `@varve/lab/testing`: what the project's own tests and benchmarks need of the
 * inside. No promise of stability.
 */
export { pythonPackages } from './linux/python.js'
export { libraryFolders, sharedLibraries } from './linux/shared-libraries.js'
export { MicroVm, type MicroVmPlace, type Written } from './micro/micro-vm.js'
export { divideByName, rewrittenOnLoad } from './micro/named-pages.js'
export { pagesWithNames, type RecordedRun, recordRun, type Touches } from './micro/record-run.js'
export { restoreMicroGuest } from './micro/restore-micro-guest.js'
export { median } from './statistics/median.js'
export { nearestRank } from './statistics/quantile.js'
export { seededRandom, shuffled } from './statistics/random.js'
