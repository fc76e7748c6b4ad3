// Runs inside the nested lab: what it offers.
import { execFileSync } from 'node:child_process'
import { existsSync, writeFileSync } from 'node:fs'
import { findFirecracker } from 'varve'

const { origin, version } = await findFirecracker()
const commands = execFileSync('ps', ['-o', 'args'], { encoding: 'utf8' }).split('\n')
writeFileSync(
  process.env.VARVE_LAB_RESULT,
  JSON.stringify({
    kvmDevice: existsSync('/dev/kvm'),
    userfaultfd: existsSync('/dev/userfaultfd'),
    firecracker: { origin, version },
    commands: commands.map((it) => it.trim()),
  }),
)
