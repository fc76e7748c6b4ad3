/**
 * The loop: rbx is the entry, rbp the end of the table.
 *
 * ```
 * 48 8b 03        mov  rax, [rbx]          48 89 03        mov  [rbx], rax
 * 48 8b 7b 08     mov  rdi, [rbx+8]        48 83 c3 38     add  rbx, 56
 * 48 8b 73 10     mov  rsi, [rbx+16]       48 39 eb        cmp  rbx, rbp
 * 48 8b 53 18     mov  rdx, [rbx+24]       72 d7           jb   the beginning
 * 4c 8b 53 20     mov  r10, [rbx+32]       cc              int3
 * 4c 8b 43 28     mov  r8,  [rbx+40]
 * 4c 8b 4b 30     mov  r9,  [rbx+48]
 * 0f 05           syscall
 * ```
 */
const loop = '488b03 488b7b08 488b7310 488b5318 4c8b5320 4c8b4328 4c8b4b30 0f05 488903 4883c338 4839eb 72d7'
export const loopCode = code(`${loop} cc`)

/**
 * The same in a new thread, which unmaps the memory that it ran in by code of the process (`findUnmapSelf`).
 * The thread that makes it also runs instructions in this memory. So when the new thread is done with the
 * table, it waits for a word, which is set when the other thread has left. r12 and r13 are that memory and
 * its length, r14 the address to jump to at the end, r15 the address of the word.
 *
 * ```
 * 0f 05           syscall     clone        wait:
 * 48 85 c0        test rax, rax            41 8b 07        mov  eax, [r15]
 * 74 25           jz   the loop's cmp      85 c0           test eax, eax
 * cc              int3                     75 16           jnz  leave
 * (the loop)                               b8 ca 00 00 00  mov  eax, SYS_futex
 *                                          4c 89 ff        mov  rdi, r15
 * leave:                                   be 80 00 00 00  mov  esi, FUTEX_WAIT_PRIVATE
 * 4c 89 e7        mov  rdi, r12            31 d2           xor  edx, edx     (while it is 0)
 * 4c 89 ee        mov  rsi, r13            45 31 d2        xor  r10d, r10d   (without a time-out)
 * 41 ff e6        jmp  r14                 0f 05           syscall
 *                                          eb e3           jmp  wait
 * ```
 */
export const cloned = code('0f05 4885c0 7425 cc')
const waitForWord = '418b07 85c0 7516 b8ca000000 4c89ff be80000000 31d2 4531d2 0f05 ebe3'
export const besideCode = Buffer.concat([cloned, code(`${loop} ${waitForWord} 4c89e7 4c89ee 41ffe6`)])
/** The word lies before the thread's table, in its own cache line. */
export const wordBytes = 64

// sched.h: a thread as pthread_create makes it (CLONE_VM | FS | FILES | SIGHAND | THREAD |
// SYSVSEM), without anything of libc's.
export const threadFlags = 0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000

function code(hex: string): Buffer {
  return Buffer.from(hex.replaceAll(' ', ''), 'hex')
}
