import { readdirSync, readFileSync } from 'node:fs'
import { constants, setPriority } from 'node:os'

/**
 * The lab has one CPU, for which all vCPUs have work all the time: they give way to what serves them, as if
 * that had one of its own.
 */
export function giveWay({ pid }) {
  for (const thread of readdirSync(`/proc/${pid}/task`))
    if (readFileSync(`/proc/${pid}/task/${thread}/comm`, 'utf8').startsWith('fc_vcpu'))
      setPriority(Number(thread), constants.priority.PRIORITY_LOW)
}
