/** `@varve/lab/testing`: what the project's own tests and benchmarks need of the inside. No promise of stability. */
export { maxAgentBytes, maxAgentHeaderBytes } from './linux/agent-bounds.js'
export { agentFiles } from './linux/agent-program.js'
export { ext4Image } from './linux/ext4-image.js'
export { pythonPackages } from './linux/python.js'
export { libraryFolders } from './linux/shared-libraries.js'
export { withTmpfs } from './scenarios/tmpfs.js'
export { seededRandom, shuffled } from './statistics/random.js'
