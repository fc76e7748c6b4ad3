/** `util.inspect.custom`, without loading node:util. */
export const inspectCustom: unique symbol = Symbol.for('nodejs.util.inspect.custom')

/**
 * Has `console.log` print plain data with much in it as one line. The property is hidden: it is not compared,
 * copied by a spread, cloned or written as JSON.
 */
export function withLine<Data extends object>(value: Data, line: (value: Data) => string): Data {
  return Object.defineProperty(value, inspectCustom, { value: () => line(value) })
}
