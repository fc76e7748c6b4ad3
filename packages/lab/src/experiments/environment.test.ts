import { expect, test } from 'vitest'
import { describeEnvironment, kvmKind } from './environment.js'

const flags = (text: string) => `processor : 0\nflags\t\t: fpu ${text} sse\n`

test.runIf(process.arch === 'x64')(
  'what runs guest code is told by its name: emulated is not hardware',
  () => {
    expect(kvmKind(undefined, flags('vmx'))).toBe('hardware (VMX)')
    expect(kvmKind(undefined, flags('svm'))).toBe('hardware (SVM)')
    expect(kvmKind(undefined, flags('vmx hypervisor'))).toBe('nested (VMX)')
    expect(kvmKind('kvm', flags('svm hypervisor'))).toBe('nested (SVM)')
    expect(kvmKind('tcg', flags('svm hypervisor'))).toBe('emulated by QEMU (SVM)')
    expect(kvmKind(undefined, flags('hypervisor'))).toMatch(/^software/)
  },
)

test('an environment names the disk that files lie on, and what decides how it is read', () => {
  const version = { major: 1, minor: 12, patch: 1 }
  const binary = { path: '/bin/firecracker', version } as unknown as Parameters<typeof describeEnvironment>[0]
  const on = (directory: string) => describeEnvironment(binary, { kind: 'native' }, directory)
  const disk = on('/var/tmp')
  expect(Object.keys(disk)).toEqual(
    expect.arrayContaining([
      'fileSystem',
      'device',
      'rotational',
      'readAheadKib',
      'dropsCache',
      'faultAroundBytes',
      'transparentHugePages',
      'load',
    ]),
  )
  expect(disk.dropsCache).toBe('yes')
  expect(on('/dev/shm')).toMatchObject({ fileSystem: 'tmpfs', dropsCache: 'no' })
})
