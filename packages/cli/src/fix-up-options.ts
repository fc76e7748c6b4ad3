import type { Cidr } from '@varve/guest'
import { type FixUp, VarveError } from 'varve'
import { listOption, stringOption } from './arguments.js'
import type { OptionTable, OptionValues } from './command.js'
import { loadGuest } from './guest.js'

/** What makes a restored guest one of its own. */
export const fixUpOptions = {
  'fix-up': { type: 'boolean' },
  hostname: { type: 'string' },
  address: { type: 'string', multiple: true },
  route: { type: 'string', multiple: true },
} as const satisfies OptionTable

export const fixUpHelp = `  --fix-up               have the agent of @varve/guest in the guest set the time, new entropy, a
                         new machine id, and the machine's name as host name; the next three
                         imply this option
  --hostname NAME        set this host name instead; several clones get it with their number
                         appended
  --address IF=CIDR      set the address of a network interface, repeatable: eth0=10.0.0.2/24
  --route IF=CIDR[,VIA]  add a route, repeatable: eth0=0.0.0.0/0,10.0.0.1`

/** USAGE for what is no address. What the agent refuses, it says itself. */
export async function chosenFixUp(values: OptionValues): Promise<{ readonly fixUp?: FixUp }> {
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
  const asked = values['fix-up'] === true || hostname !== undefined || addresses.length + routes.length > 0
  if (!asked) return {}
  const { newIdentity } = await loadGuest()
  return {
    fixUp: newIdentity({ ...(hostname === undefined ? {} : { hostname }), addresses, routes }),
  }
}

function ofInterface(option: string, text: string): [string, Cidr] {
  const found = /^([^=]+)=([\d.]+\/\d+)$/.exec(text)
  if (found === null)
    throw new VarveError('USAGE', `--${option} ${text} is not as varve help restore shows it`)
  return [found[1] as string, found[2] as Cidr]
}
