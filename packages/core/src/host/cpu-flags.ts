import type { CpuidEntry } from '../firecracker/state-file/guest-cpuid.js'

interface FeatureWord {
  readonly leaf: number
  readonly register: 'ebx' | 'ecx' | 'edx'
  /** Name by bit, as /proc/cpuinfo has it: arch/x86/include/asm/cpufeatures.h. */
  readonly names: Readonly<Record<number, string>>
}

/**
 * The features that a guest finds in CPUID and that the CPU itself must have. Left out is what KVM or
 * Firecracker shows on any CPU, so that a guest can have it without the host: emulated (apic, x2apic,
 * tsc_deadline_timer, tsc_adjust, umip, arch_capabilities, mtrr, mce, mca, pat, pdpe1gb under shadow paging,
 * la57 with no5lvl), told by the guest's own set-up (osxsave, ospke, hypervisor, ht, cmp_legacy, topoext),
 * and mitigations, which cpuinfo lists under other names and without which the guest runs on.
 */
const words: readonly FeatureWord[] = [
  {
    leaf: 1,
    register: 'edx',
    names: {
      ...{
        0: 'fpu',
        1: 'vme',
        2: 'de',
        3: 'pse',
        4: 'tsc',
        5: 'msr',
        6: 'pae',
        8: 'cx8',
        11: 'sep',
        13: 'pge',
      },
      ...{ 15: 'cmov', 17: 'pse36', 19: 'clflush', 23: 'mmx', 24: 'fxsr', 25: 'sse', 26: 'sse2' },
    },
  },
  {
    leaf: 1,
    register: 'ecx',
    names: {
      ...{ 0: 'pni', 1: 'pclmulqdq', 5: 'vmx', 9: 'ssse3', 12: 'fma', 13: 'cx16', 17: 'pcid', 19: 'sse4_1' },
      ...{
        20: 'sse4_2',
        22: 'movbe',
        23: 'popcnt',
        25: 'aes',
        26: 'xsave',
        28: 'avx',
        29: 'f16c',
        30: 'rdrand',
      },
    },
  },
  {
    leaf: 7,
    register: 'ebx',
    names: {
      ...{ 0: 'fsgsbase', 3: 'bmi1', 4: 'hle', 5: 'avx2', 7: 'smep', 8: 'bmi2', 9: 'erms', 10: 'invpcid' },
      ...{ 11: 'rtm', 14: 'mpx', 16: 'avx512f', 17: 'avx512dq', 18: 'rdseed', 19: 'adx', 20: 'smap' },
      ...{ 21: 'avx512ifma', 23: 'clflushopt', 24: 'clwb', 26: 'avx512pf', 27: 'avx512er', 28: 'avx512cd' },
      ...{ 29: 'sha_ni', 30: 'avx512bw', 31: 'avx512vl' },
    },
  },
  {
    leaf: 7,
    register: 'ecx',
    names: {
      ...{
        1: 'avx512vbmi',
        3: 'pku',
        5: 'waitpkg',
        6: 'avx512_vbmi2',
        8: 'gfni',
        9: 'vaes',
        10: 'vpclmulqdq',
      },
      ...{ 11: 'avx512_vnni', 12: 'avx512_bitalg', 14: 'avx512_vpopcntdq', 22: 'rdpid', 25: 'cldemote' },
      ...{ 27: 'movdiri', 28: 'movdir64b' },
    },
  },
  {
    leaf: 7,
    register: 'edx',
    names: {
      ...{ 2: 'avx512_4vnniw', 3: 'avx512_4fmaps', 4: 'fsrm', 8: 'avx512_vp2intersect', 14: 'serialize' },
      ...{ 16: 'tsxldtrk', 22: 'amx_bf16', 23: 'avx512_fp16', 24: 'amx_tile', 25: 'amx_int8' },
    },
  },
  {
    leaf: 0x80000001,
    register: 'edx',
    names: {
      11: 'syscall',
      20: 'nx',
      22: 'mmxext',
      25: 'fxsr_opt',
      27: 'rdtscp',
      29: 'lm',
      30: '3dnowext',
      31: '3dnow',
    },
  },
  {
    leaf: 0x80000001,
    register: 'ecx',
    names: {
      ...{ 0: 'lahf_lm', 2: 'svm', 5: 'abm', 6: 'sse4a', 7: 'misalignsse', 8: '3dnowprefetch', 11: 'xop' },
      ...{ 16: 'fma4', 21: 'tbm', 23: 'perfctr_core', 29: 'mwaitx' },
    },
  },
]

/**
 * The flags of /proc/cpuinfo that these entries show a guest, of those that the host's CPU must have for it.
 */
export function flagsShown(entries: readonly CpuidEntry[]): ReadonlySet<string> {
  const shown = new Set<string>()
  for (const { leaf, register, names } of words) {
    const entry = entries.find((it) => it.leaf === leaf && it.subleaf === 0)
    if (entry === undefined) continue
    for (const [bit, name] of Object.entries(names))
      if ((entry[register] >>> Number(bit)) & 1) shown.add(name)
  }
  return shown
}
