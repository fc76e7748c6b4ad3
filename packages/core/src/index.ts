export * from './errors.js'
export * from './memory/units.js'
