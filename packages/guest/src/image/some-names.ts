/** Names of an image, for a remedy: an image can have thousands, of megabytes. */
export const someNames = (names: readonly string[]): string => names.slice(0, 20).join(', ').slice(0, 1000)
