/** The vsock port on which the guest's agent listens. */
export const agentPort = 1024
/** Of the protocol between the agent and its client on the host. */
export const agentProtocolVersion = 3
