import { VarveError } from '../errors.js'
import { PR_SET_PDEATHSIG, SIGKILL } from './abi.js'
import { declare, errno, syscallError } from './libc.js'

// Safe: integers only.
const prctl = declare<[number, number, number, number, number]>(
  'int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)',
)

/**
 * From now on this process ends when its parent `pid` (the thread that started
 * it) does, whatever it is doing.
 */
export function endWithParent(pid: number): void {
  setParentDeathSignal(SIGKILL)
  // It may have ended before.
  assertParent(pid)
}

/** INTERRUPTED if it has ended. */
export function assertParent(pid: number): void {
  if (process.ppid !== pid)
    throw new VarveError('INTERRUPTED', `process ${pid}, which started this one, has ended`)
}

/** No longer: it finds out by the end of its standard input. */
export function outliveParent(): void {
  setParentDeathSignal(0)
}

function setParentDeathSignal(signal: number): void {
  if (prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0) !== 0)
    throw syscallError('prctl', errno(), 'PR_SET_PDEATHSIG', 'HOST_UNSUPPORTED')
}
