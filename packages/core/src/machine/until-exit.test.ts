import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { expect, test } from 'vitest'
import { VarveError } from '../errors.js'
import { vmmProcess } from '../firecracker/vmm-process.js'
import { untilExit } from './until-exit.js'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

function vmm() {
  let end = () => {}
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    end = () => resolve({ code: null, signal: 'SIGKILL' })
  })
  const watched = { identity: { pid: 1, startTime: 1 }, exited, exit: undefined, ref() {}, unref() {} }
  const process = vmmProcess(watched as never, {
    paths: {} as never,
    files: {} as never,
    jailRoot: undefined,
  })
  return { process, end }
}

const ended = () => new VarveError('MACHINE_EXITED', 'it ended')

test('keeps nothing of a step that is over, however long the VMM lives', async () => {
  const { process } = vmm()
  const results: WeakRef<object>[] = []
  for (let step = 0; step < 20; step++) {
    const result = await untilExit(process, async () => ({ step }), ended)
    results.push(new WeakRef(result))
  }
  await new Promise((resolve) => setTimeout(resolve, 10))
  collectGarbage()
  // The last one may still be in a register of this function.
  expect(results.filter((it) => it.deref() !== undefined).length).toBeLessThanOrEqual(1)
})

test('fails when the VMM ends, also if the step itself never ends, and at once if the VMM had ended before', async () => {
  const { process, end } = vmm()
  const waiting = untilExit(process, () => new Promise(() => {}), ended)
  end()
  await expect(waiting).rejects.toMatchObject({ code: 'MACHINE_EXITED' })
  await expect(untilExit(process, () => new Promise(() => {}), ended)).rejects.toMatchObject({
    code: 'MACHINE_EXITED',
  })
})
