/** A program of this package. What it gives is an exit status, if it is a number. */
type Program = (argv: readonly string[]) => unknown

const programs: Readonly<Record<string, () => Promise<Program>>> = {
  compose: async () => (await import('./compose/bench-compose.js')).benchCompose,
  faults: async () => (await import('./faults/bench-faults.js')).benchFaults,
  functions: async () => (await import('./figures/functions.js')).functionFigures,
  'fuzz-state-files': async () => (await import('./fuzz/fuzz-program.js')).fuzzProgram,
  'ground-truth': async () => (await import('./figures/ground-truth.js')).groundTruth,
  launch: async () => (await import('./launch/bench-launch.js')).benchLaunch,
  'linux-recording': async () => (await import('./figures/linux-recording.js')).linuxRecording,
  record: async () => (await import('./record/bench-record.js')).benchRecord,
  restore: async () => (await import('./restore/bench-restore.js')).benchRestore,
  sets: async () => (await import('./sets/bench-sets.js')).benchSets,
  start: async () => (await import('./start/bench-start.js')).benchStart,
  'vm-faults': async () => (await import('./vm-faults/bench-vm-faults.js')).benchVmFaults,
  'working-set-pictures': async () => (await import('./figures/working-set-pictures.js')).workingSetPictures,
}

/** Runs the program that the first argument names. Gives the exit status. */
export async function runBench([name = '', ...argv]: readonly string[]): Promise<number> {
  const load = programs[name]
  if (load === undefined) {
    process.stderr.write(`usage: node scripts/bench.mjs ${Object.keys(programs).join('|')} [option…]\n`)
    return 2
  }
  const program = await load()
  const status = await program(argv)
  return typeof status === 'number' ? status : 0
}
