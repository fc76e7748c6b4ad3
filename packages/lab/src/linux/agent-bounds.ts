/** The vsock port on which the guest's agent listens. */
export const agentPort = 1024
export const agentVersion = 2
/** Cap on a file, an input and an output. The guest keeps them in memory. */
export const maxAgentBytes = 16 * 1024 * 1024
export const maxAgentHeaderBytes = 64 * 1024
/** Names of functions. */
export const functionName = /^[a-z0-9][a-z0-9-]{0,31}$/
/** Names of a function's files. */
export const functionFileName = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/
export const agentHostname = /^[a-zA-Z0-9.-]{1,64}$/
/** Of bytes for the kernel's pool: what RNDADDENTROPY is given at once. */
export const maxEntropyBytes = 512
