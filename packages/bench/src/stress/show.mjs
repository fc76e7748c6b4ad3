/** An error with its code, stack and causes, for people. */
export function describeError(error) {
  if (!(error instanceof Error)) return String(error)
  const code = error.code === undefined ? '' : `[${error.code}] `
  const details =
    Object.keys(error.details ?? {}).length === 0 ? '' : `\n  details ${JSON.stringify(error.details)}`
  const cause = error.cause === undefined ? '' : `\n  caused by ${describeError(error.cause)}`
  return `${code}${error.stack ?? error.message}${details}${cause}`
}
