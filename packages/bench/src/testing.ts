/** `@varve/bench/testing`: snapshots of known content, for tests of the store. */
export { capture, isImage } from './kill-points/world.js'
