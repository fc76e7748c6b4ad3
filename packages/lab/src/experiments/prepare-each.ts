/** What was prepared for each value of a factor; disposes of all of it. */
export interface PreparedEach<Key, Resource> extends AsyncDisposable {
  of(key: Key): Resource
}

/** One after the other; if one fails, those before it are disposed of. */
export async function prepareEach<Key, Resource extends AsyncDisposable>(
  keys: readonly Key[],
  prepare: (key: Key) => Promise<Resource>,
): Promise<PreparedEach<Key, Resource>> {
  const made = new Map<Key, Resource>()
  const dispose = async () => {
    for (const resource of made.values()) await resource[Symbol.asyncDispose]()
  }
  try {
    for (const key of keys) made.set(key, await prepare(key))
  } catch (error) {
    await dispose()
    throw error
  }
  return {
    of: (key) => {
      const found = made.get(key)
      if (found === undefined) throw new Error(`nothing was prepared for ${String(key)}`)
      return found
    },
    [Symbol.asyncDispose]: dispose,
  }
}
