/** What is wrong with an output that has to have exactly these bytes, or null. */
export function unequal(expected: Uint8Array | string, output: Buffer): string | null {
  const bytes = Buffer.from(expected as Uint8Array)
  if (bytes.equals(output)) return null
  if (bytes.length !== output.length) return `${output.length} bytes, not ${bytes.length}`
  const at = bytes.findIndex((byte, i) => byte !== output[i])
  return `byte ${at} of ${bytes.length} is ${output[at]}, not ${bytes[at]}`
}
