/** `await using` for Node 20, which has the symbol but not the syntax. */
export async function disposing(resource, work) {
  try {
    return await work(resource)
  } finally {
    await resource[Symbol.asyncDispose]()
  }
}
