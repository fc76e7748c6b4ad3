import type { Engine } from '../engine.js'
import type { EngineName } from '../engine-names.js'
import { fileEngine } from './file/file-engine.js'
import { mappedEngine } from './mapped/mapped-engine.js'
import { pagedEngine } from './paged/paged-engine.js'
import { patchedEngine } from './patched/patched-engine.js'

export const engines: Readonly<Record<EngineName, Engine>> = {
  file: fileEngine,
  paged: pagedEngine,
  mapped: mappedEngine,
  patched: patchedEngine,
}
