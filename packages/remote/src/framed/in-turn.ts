/**
 * Works on up to `depth` items at a time, and gives the results in the order of the items. When it ends, also
 * early, no work is running any more.
 */
export async function* inTurn<Item, Result>(
  items: Iterable<Item>,
  depth: number,
  work: (item: Item) => Promise<Result>,
): AsyncGenerator<Result> {
  const running: Promise<Result>[] = []
  try {
    for (const item of items) {
      const result = work(item)
      // It may fail before its turn: until then the failure is not unhandled.
      result.catch(() => {})
      running.push(result)
      if (running.length >= depth) yield await (running.shift() as Promise<Result>)
    }
    while (running.length > 0) yield await (running.shift() as Promise<Result>)
  } finally {
    await Promise.allSettled(running)
  }
}
