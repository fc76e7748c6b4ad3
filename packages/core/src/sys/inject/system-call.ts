// System calls of x86_64 (asm/unistd_64.h).
export const systemCall = {
  close: 3,
  mmap: 9,
  mprotect: 10,
  munmap: 11,
  ioctl: 16,
  madvise: 28,
  recvmsg: 47,
  socketpair: 53,
  clone: 56,
  wait4: 61,
  futex: 202,
  close_range: 436,
} as const
