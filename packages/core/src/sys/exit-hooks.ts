/**
 * Runs clean-ups when this process ends, however it ends short of SIGKILL. (After a SIGKILL
 * the next `listMachines` finds that the owner is gone and cleans up.) Clean-ups are
 * synchronous: exit waits for nothing.
 */
const cleanUps = new Set<() => void>()

const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Registers `cleanUp`; the returned function takes it back. */
export function onProcessEnd(cleanUp: () => void): () => void {
  if (cleanUps.size === 0) install()
  cleanUps.add(cleanUp)
  return () => {
    if (cleanUps.delete(cleanUp) && cleanUps.size === 0) uninstall()
  }
}

function runAll(): void {
  for (const cleanUp of [...cleanUps]) {
    cleanUps.delete(cleanUp)
    try {
      cleanUp()
    } catch (error) {
      // One failing clean-up must not keep the others from running; there is no caller left to throw to.
      process.stderr.write(
        `varve: clean-up failed: ${error instanceof Error ? error.message : String(error)}\n`,
      )
    }
  }
}

/**
 * Marks the handlers of this file: a program can have loaded a second copy of it, which waits for the same.
 */
const ours = Symbol.for('varve.exit-hook')

/**
 * A program with its own handler decides for itself when to end; `exit` then runs the
 * clean-ups. Otherwise die as asked.
 */
function onSignal(signal: NodeJS.Signals): void {
  if (process.listeners(signal).some((listener) => !(ours in listener))) return
  runAll()
  uninstall()
  process.kill(process.pid, signal)
}

Object.assign(onSignal, { [ours]: true })

function install(): void {
  process.on('exit', runAll)
  for (const signal of signals) process.on(signal, onSignal)
}

function uninstall(): void {
  process.off('exit', runAll)
  for (const signal of signals) process.off(signal, onSignal)
}
