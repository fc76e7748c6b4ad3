/**
 * Whether a host, with or without a port, is this one. These have no certificates, and Docker too takes them
 * without.
 */
export const isLoopback = (host: string): boolean =>
  /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?$/.test(host)
