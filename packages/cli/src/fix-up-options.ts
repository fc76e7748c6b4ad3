import type { Cidr, FixUp as WhatToTell } from '@varve/guest'
import { type FixUp, type GuestAgentPlace, VarveError } from 'varve'
import { listOption, stringOption } from './arguments.js'
import type { CommandContext, OptionTable, OptionValues } from './command.js'
import { loadGuest } from './guest.js'
import { guestsFor, hookHelp, hookMsOf, hookOptions } from './hook-options.js'

/** What makes a restored guest one of its own. */
export const fixUpOptions = {
  'fix-up': { type: 'boolean' },
  'no-fix-up': { type: 'boolean' },
  hostname: { type: 'string' },
  address: { type: 'string', multiple: true },
  route: { type: 'string', multiple: true },
  ...hookOptions,
} as const satisfies OptionTable

export const sameIdentityOption = { 'same-identity': { type: 'boolean' } } as const satisfies OptionTable

export const sameIdentityHelp = `  --same-identity        the guest goes on as the machine that was captured: it keeps host name and
                         machine id, and runs its hook resume in place of run. Only if no other
                         machine of this snapshot runs`

export const fixUpHelp = `  --fix-up               have the agent of @varve/guest in the guest set the time, new entropy, a
                         new machine id, and the machine's name as host name, and run the guest's
                         hook run; the default if the snapshot says that its guest has the agent.
                         The next three imply this option
  --no-fix-up            tell the guest nothing: it has the time, random numbers and names of the
                         snapshot
  --hostname NAME        set this host name instead; several clones get it with their number
                         appended
  --address IF=CIDR      set the address of a network interface, repeatable: eth0=10.0.0.2/24
  --route IF=CIDR[,VIA]  add a route, repeatable: eth0=0.0.0.0/0,10.0.0.1
${hookHelp}`

/**
 * What the options add to an identity; USAGE for what is no address. What the agent refuses, it says itself.
 */
export function whatToTell(values: OptionValues): WhatToTell {
  const hostname = stringOption(values, 'hostname')
  const addresses = listOption(values, 'address').map((text) => {
    const [name, address] = ofInterface('address', text)
    return { interface: name, address }
  })
  const routes = listOption(values, 'route').map((text) => {
    const [whole, via, more] = text.split(',')
    const [name, to] = ofInterface('route', more === undefined ? (whole ?? '') : '')
    return { interface: name, to, ...(via === undefined ? {} : { via }) }
  })
  return { ...(hostname === undefined ? {} : { hostname }), addresses, routes }
}

/**
 * How a guest that is restored is told who it is: as the options say; without any, if it is known to have the
 * agent. A guest that is left paused is told when it is resumed.
 */
export async function chosenFixUp(
  context: CommandContext,
  guestAgent: GuestAgentPlace | null | undefined,
): Promise<{ readonly fixUp?: FixUp }> {
  const { values } = context
  const what = whatToTell(values)
  const hookMs = hookMsOf(values)
  const asked = ['fix-up', 'same-identity', 'hostname', 'address', 'route'].find(
    (name) => values[name] !== undefined,
  )
  if (values['no-fix-up'] === true) {
    if (asked === undefined) return {}
    throw new VarveError('USAGE', `--no-fix-up and --${asked} exclude each other`)
  }
  if (asked === undefined && values.paused === true) return {}
  const guests =
    asked === undefined
      ? await guestsFor(guestAgent, 'the guest is not told that it is a copy', context)
      : await loadGuest()
  if (guests === undefined) return {}
  const tell = values['same-identity'] === true ? guests.sameIdentity : guests.newIdentity
  return { fixUp: tell(what, { hookMs }) }
}

function ofInterface(option: string, text: string): [string, Cidr] {
  const found = /^([^=]+)=([\d.]+\/\d+)$/.exec(text)
  if (found === null)
    throw new VarveError('USAGE', `--${option} ${text} is not as varve help restore shows it`)
  return [found[1] as string, found[2] as Cidr]
}
