/**
 * `@varve/remote/testing`: what the project's own tests need of the inside. No promise of stability: any
 * release may change it.
 */

export { openBucket } from './bucket/open-bucket.js'
export { type ScriptedServer, scriptedServer } from './http/scripted-server.js'
export { openRegistry } from './registry/open-registry.js'
