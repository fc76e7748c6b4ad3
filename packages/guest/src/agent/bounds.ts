/**
 * Numbers of the protocol (docs/formats/guest-agent.md), which the agent has too
 * (packages/guest/agent/agent.h).
 */

/** The vsock port on which the guest's agent listens. */
export const agentPort = 1024
/** Of the protocol between the agent and its client on the host. */
export const agentProtocolVersion = 3
export const maxOpenBytes = 65_536
export const maxDataBytes = 16_384
/** Of a frame of fields from the agent. */
export const maxAnswerBytes = 16_384
export const maxFields = 2_048
/** Arguments of a command, and variables of its environment. */
export const maxWords = 1_024
/** The most that a sender may be allowed to send at a time. */
export const maxCredit = 1024 * 1024
/** Steps of one fix-up or hook: more than 64 programs and 64 fields. */
export const maxSteps = 256
/** Input and output of a function. */
export const maxFunctionBytes = 16 * 1024 * 1024
/** Of bytes for the kernel's pool: what RNDADDENTROPY is given at once. */
export const minEntropyBytes = 32
export const maxEntropyBytes = 512
export const functionName = /^[a-z0-9][a-z0-9-]{0,31}$/
export const hostname = /^[a-zA-Z0-9.-]{1,64}$/

/**
 * What the host keeps of a stream that is not read: enough for a guest that sends 16 KiB a frame not to wait
 * for each CREDIT.
 */
export const windowBytes = 256 * 1024
/** A sign of life is asked for after this long without one. */
export const silenceMs = 2_000

export const frameKind = {
  open: 1,
  accepted: 2,
  data: 3,
  end: 4,
  credit: 5,
  signal: 6,
  resize: 7,
  result: 8,
  fail: 9,
  ping: 10,
  pong: 11,
  step: 12,
} as const

export const verb = {
  ping: 1,
  exec: 2,
  put: 3,
  get: 4,
  memory: 5,
  start: 6,
  invoke: 7,
  stop: 8,
  list: 9,
  fixUp: 10,
  hook: 11,
  pages: 12,
} as const
export type VerbName = keyof typeof verb

export const tag = {
  arg: 1,
  env: 2,
  cwd: 3,
  user: 4,
  tty: 5,
  timeout: 6,
  path: 7,
  mode: 8,
  name: 9,
  size: 10,
  clock: 11,
  entropy: 12,
  hostname: 13,
  machineId: 14,
  address: 15,
  route: 16,
  scripts: 17,
  code: 32,
  message: 33,
  errno: 34,
  exit: 35,
  signal: 36,
  timedOut: 37,
  elapsed: 38,
  pid: 39,
  agent: 40,
  uptime: 41,
  step: 42,
  was: 43,
  function: 44,
  status: 45,
  handler: 46,
} as const
