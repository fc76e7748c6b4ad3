/** A program of this package. What it gives is an exit status, if it is a number. */
type Program = (argv: readonly string[]) => unknown

const programs: Readonly<Record<string, () => Promise<Program>>> = {
  capture: async () => (await import('./capture/bench-capture.js')).benchCapture,
  compose: async () => (await import('./compose/bench-compose.js')).benchCompose,
  'daemon-pages': async () => (await import('./figures/daemon-pages.js')).daemonPages,
  faults: async () => (await import('./faults/bench-faults.js')).benchFaults,
  framed: async () => (await import('./framed/bench-framed.js')).benchFramed,
  'function-owners': async () => (await import('./figures/function-owners.js')).functionOwners,
  functions: async () => (await import('./figures/functions.js')).functionFigures,
  'fuzz-state-files': async () => (await import('./fuzz/fuzz-program.js')).fuzzProgram,
  'golden-layers': async () => (await import('./golden/golden-layers.js')).goldenLayers,
  'golden-working-sets': async () => (await import('./golden/golden-working-sets.js')).goldenWorkingSets,
  'ground-truth': async () => (await import('./figures/ground-truth.js')).groundTruth,
  'kill-points': async () => (await import('./kill-points/kill-points.js')).killPoints,
  launch: async () => (await import('./launch/bench-launch.js')).benchLaunch,
  'linux-recording': async () => (await import('./figures/linux-recording.js')).linuxRecording,
  'readme-pictures': async () => (await import('./readme-pictures/readme-pictures.js')).readmePictures,
  'live-clones': async () => (await import('./live-clones/bench-live-clones.js')).benchLiveClones,
  'live-soak': async () => (await import('./soak/live-soak.js')).liveSoak,
  record: async () => (await import('./record/bench-record.js')).benchRecord,
  restore: async () => (await import('./restore/bench-restore.js')).benchRestore,
  sets: async () => (await import('./sets/bench-sets.js')).benchSets,
  'small-sets': async () => (await import('./figures/small-sets.js')).smallSets,
  soak: async () => (await import('./soak/soak.js')).soak,
  start: async () => (await import('./start/bench-start.js')).benchStart,
  stress: async () => (await import('./stress/stress.js')).stress,
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
