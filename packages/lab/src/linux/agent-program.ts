import { guestFile } from '../guest-file.js'
import {
  agentPort,
  agentVersion,
  maxAgentBytes,
  maxAgentHeaderBytes,
  maxEntropyBytes,
} from './agent-bounds.js'

const bounds = `VERSION = ${agentVersion}
PORT = ${agentPort}
MAX_HEADER = ${maxAgentHeaderBytes}
MAX_BODY = ${maxAgentBytes}
MAX_ENTROPY = ${maxEntropyBytes}
`

/** The files that are the agent, to lie in one folder. */
export const agentFiles: readonly { readonly name: string; readonly content: string }[] = [
  { name: 'bounds.py', content: bounds },
  ...['agent.py', 'functions.py', 'runner.py', 'runner.mjs'].map((name) => ({
    name,
    content: guestFile(`agent/${name}`),
  })),
]
