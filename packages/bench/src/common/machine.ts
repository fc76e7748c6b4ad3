import { cpus, loadavg, release } from 'node:os'

/** What a benchmark's rows say of where it ran. */
export const thisMachine = () => ({
  cpu: cpus()[0]?.model,
  cores: cpus().length,
  kernel: release(),
  node: process.version,
})

/** The load of the last minute, threads. */
export const loadNow = (): number => loadavg()[0] ?? Number.NaN

/** The same for a page, when the benchmark is done. */
export function machineText(): string {
  const { cpu, cores, kernel, node } = thisMachine()
  return `${cpu}, ${cores} CPUs, Linux ${kernel}, Node ${node}, load ${loadNow().toFixed(1)} at the end`
}
