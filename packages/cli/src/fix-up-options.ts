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

export const fixUpHelp = `  --fix-up               tell the guest, by the agent of @varve/guest in it: the time, new entropy,
                         a machine id, and the machine's name as host name; the rest implies it
  --hostname NAME        that host name instead; several clones get their numbers behind it
  --address IF=CIDR      the address of one of its interfaces, repeatable: eth0=10.0.0.2/24
  --route IF=CIDR[,VIA]  a route, repeatable: eth0=0.0.0.0/0,10.0.0.1`

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
