// Runs inside the nested lab: how many faults KVM takes while a guest writes pages, first after a Diff and
// then again. KVM counts them itself, in debugfs, which is mounted there; write-protection faults of the
// dirty log are among them.
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { bootMicroGuest } from '@varve/lab'

const pages = 2000
const debugfs = '/sys/kernel/debug'
const directory = mkdtempSync(join(process.env.TMPDIR, 'write-faults-'))
const read = (path) => readFileSync(path, 'utf8').trim()
const parameter = (module, name) => {
  try {
    return read(`/sys/module/${module}/parameters/${name}`)
  } catch {
    return null
  }
}

/** `pf_taken` of this VM; KVM names a VM's folder after the process and its descriptor. */
function faultsTaken(pid) {
  const folder = readdirSync(`${debugfs}/kvm`).find((name) => name.startsWith(`${pid}-`))
  return Number(read(`${debugfs}/kvm/${folder}/pf_taken`))
}

async function measure(trackDirtyPages) {
  const { machine, console: guest } = await bootMicroGuest({ memoryMib: 64, trackDirtyPages })
  let vm = machine
  const pass = async () => {
    const before = faultsTaken(vm.pid)
    await guest.write({ start: 1024, count: pages }, 1)
    return faultsTaken(vm.pid) - before
  }
  try {
    const untouched = await pass()
    const paused = await vm.pause()
    const path = (name) => join(directory, `${trackDirtyPages}.${name}`)
    const type = trackDirtyPages ? 'Diff' : 'Full'
    await paused.snapshot({ type, statePath: path('state'), memoryPath: path('memory') })
    vm = await paused.resume()
    return { untouched, afterSnapshot: await pass(), again: await pass() }
  } finally {
    await guest[Symbol.asyncDispose]()
    await vm.stop()
  }
}

const result = {
  pages,
  pml: parameter('kvm_intel', 'pml'),
  eagerPageSplit: parameter('kvm', 'eager_page_split'),
  tracked: await measure(true),
  untracked: await measure(false),
}
writeFileSync(process.env.VARVE_LAB_RESULT, JSON.stringify(result))
