import type { GuestAgent } from '@varve/guest'
import { connectMachine, VarveError } from 'varve'
import { installed } from './installed.js'

/** The package with the guest's agent, which is only loaded, and only needed, by verbs that talk to it. */
export const loadGuest = (): Promise<typeof import('@varve/guest')> =>
  installed('@varve/guest', import('@varve/guest'))

/** The agent in a machine's guest; it is not asked anything yet. MACHINE_STATE if the guest does not run. */
export async function agentIn(name: string, signal: AbortSignal): Promise<GuestAgent> {
  const { guestAgent } = await loadGuest()
  const machine = await connectMachine(name, { signal })
  if (machine.state !== 'running')
    throw new VarveError('MACHINE_STATE', `${name} is ${machine.state}: its guest does not run`, {
      remedy: machine.state === 'paused' ? `varve resume ${name}` : 'varve ps',
    })
  return guestAgent(machine)
}
