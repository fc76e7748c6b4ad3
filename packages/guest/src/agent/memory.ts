import { AgentCall, type CallOptions } from './agent-call.js'
import type { AgentAddress } from './dial.js'
import { broken } from './fields.js'
import { collect } from './run-command.js'

/** The guest's own view of its memory. */
export interface MemoryReport {
  /** /proc/meminfo by its names, KiB. */
  readonly meminfoKib: Readonly<Record<string, number>>
  /** /proc/vmstat: counters since the guest's boot, and counts of pages. */
  readonly vmstat: Readonly<Record<string, number>>
  readonly functions: readonly { readonly name: string; readonly pid: number; readonly residentKib: number }[]
}

/** More than the three parts have together, and more lines than any has. */
const maxBytes = 256 * 1024
const maxLines = 4096

export async function memoryReport(address: AgentAddress, options: CallOptions = {}): Promise<MemoryReport> {
  const { timeoutMs = 30_000 } = options
  using call = await AgentCall.open(address, 'memory', [], { ...options, timeoutMs, streams: [1] })
  const [text] = await Promise.all([collect(call.output, maxBytes, 'the memory report'), call.result])
  const parts = text.toString('latin1').split('\0', 4)
  if (parts.length !== 3) throw broken(`a memory report of ${parts.length} parts`)
  const [meminfo, vmstat, functions] = parts as [string, string, string]
  return {
    meminfoKib: numbers(meminfo, /^(\w[\w()]*):\s+(\d{1,15})(?: kB)?$/),
    vmstat: numbers(vmstat, /^(\w+) (\d{1,15})$/),
    functions: lines(functions).map((line) => {
      const [, name, pid, kib] = /^([a-z0-9-]{1,32}) (\d{1,10}) (\d{1,15})$/.exec(line) ?? []
      if (name === undefined) throw broken('a function’s memory in another form')
      return { name, pid: Number(pid), residentKib: Number(kib) }
    }),
  }
}

const lines = (text: string): string[] => text.split('\n', maxLines).filter((it) => it !== '')

/** Lines of another form are passed over: kernels differ. */
function numbers(text: string, form: RegExp): Record<string, number> {
  const found = lines(text).flatMap((line) => {
    const [, name, value] = form.exec(line) ?? []
    return name === undefined ? [] : [[name, Number(value)] as const]
  })
  return Object.fromEntries(found)
}
