import { readFileSync } from 'node:fs'
import { Converter, ReflectionKind } from 'typedoc'

/**
 * A typedoc plugin: a module is called what a program imports (`varve/layers`), not where its
 * source lies (core/src/layers).
 */
export function load(app) {
  const names = new Map(['core', 'guest', 'remote', 'lab'].flatMap(doorsOf))
  app.converter.on(Converter.EVENT_CREATE_DECLARATION, (_context, reflection) => {
    if (reflection.kindOf(ReflectionKind.Module))
      reflection.name = names.get(reflection.name) ?? reflection.name
  })
}

function doorsOf(folder) {
  const { name, exports } = JSON.parse(
    readFileSync(new URL(`../../packages/${folder}/package.json`, import.meta.url), 'utf8'),
  )
  return Object.entries(exports)
    .filter(([, { types }]) => types !== undefined)
    .map(([door, { types }]) => [sourceName(folder, types), `${name}${door.slice(1)}`])
}

/** As typedoc calls it: ./dist/layers.d.ts is core/src/layers, ./dist/index.d.ts is core/src. */
const sourceName = (folder, types) =>
  types
    .replace('./dist/', `${folder}/src/`)
    .replace(/\.d\.ts$/, '')
    .replace(/\/index$/, '')
