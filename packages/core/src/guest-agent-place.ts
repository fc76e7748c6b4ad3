/** Where in a guest the agent of `@varve/guest` listens. */
export interface GuestAgentPlace {
  /** Its vsock port: 1024, unless the agent was started with another. */
  readonly port: number
}

/** The highest port is "any port". */
export const maxVsockPort = 2 ** 32 - 2

export const isGuestAgentPlace = (value: unknown): value is GuestAgentPlace => {
  const port = (value as { readonly port?: unknown } | null)?.port
  return typeof port === 'number' && Number.isInteger(port) && port >= 1 && port <= maxVsockPort
}
