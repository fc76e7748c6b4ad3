export { agentPort, agentProtocolVersion } from './agent/bounds.js'
