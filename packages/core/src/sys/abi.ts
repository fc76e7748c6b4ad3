/**
 * Every number of the kernel's and the C library's interface that Varve uses, under the header that defines
 * it. For x86_64 and aarch64, unless a comment says otherwise.
 */

// asm-generic/unistd.h and asm/unistd_64.h: one number on every architecture,
// except that of ioctl (x86_64 only).
export const SYS_ioctl = 16
export const SYS_openat2 = 437
export const SYS_pidfd_send_signal = 424
export const SYS_pidfd_open = 434
export const SYS_pidfd_getfd = 438
export const SYS_process_madvise = 440

// signal.h
export const SIGTRAP = 5
export const SIGSEGV = 11
export const SIGBUS = 7
export const SIGILL = 4
export const SIGKILL = 9
export const SIGSTOP = 19

// sys/wait.h
export const WNOHANG = 1
export const __WALL = 0x40000000

// sched.h
export const CLONE_VM = 0x100

// sys/prctl.h
export const PR_SET_PDEATHSIG = 1

// sys/mman.h
export const MAP_PRIVATE = 2
export const MAP_FIXED = 0x10
export const MAP_ANONYMOUS = 0x20
export const MAP_NORESERVE = 0x4000
/** With MAP_HUGE_2MB of linux/mman.h. */
export const MAP_HUGETLB_2MB = 0x40000 | (21 << 26)
export const MADV_NORMAL = 0
export const MADV_RANDOM = 1
export const MADV_WILLNEED = 3
export const MADV_NOHUGEPAGE = 15
export const MADV_POPULATE_READ = 22
export const MADV_POPULATE_WRITE = 23
export const PROT_READ = 1
export const PROT_WRITE = 2
export const PROT_EXEC = 4
export const MAP_SHARED = 1
export const MADV_DONTNEED = 4

// fcntl.h, of which Node does not name these; linux/openat2.h
export const O_PATH = 0o10000000
export const RESOLVE_NO_MAGICLINKS = 2
export const RESOLVE_NO_SYMLINKS = 4
export const RESOLVE_BENEATH = 8
export const O_CLOEXEC = 0o2000000
export const AT_FDCWD = -100
export const AT_SYMLINK_FOLLOW = 0x400
export const F_SETSIG = 10
export const F_SETLEASE = 1024
export const F_GETLEASE = 1025
export const F_RDLCK = 0
export const F_WRLCK = 1
export const F_UNLCK = 2

// fcntl.h: posix_fadvise(2)
export const POSIX_FADV_RANDOM = 1
export const POSIX_FADV_WILLNEED = 3
export const POSIX_FADV_DONTNEED = 4

// sys/eventfd.h
export const EFD_CLOEXEC = 0o2000000

// unistd.h: lseek(2)
export const SEEK_DATA = 3
export const SEEK_HOLE = 4

// sys/file.h: flock(2)
export const LOCK_SH = 1
export const LOCK_EX = 2
export const LOCK_NB = 4
export const LOCK_UN = 8

// sys/socket.h
export const SOL_SOCKET = 1
export const SCM_RIGHTS = 1
export const SO_PEERCRED = 17
export const MSG_DONTWAIT = 0x40
export const MSG_CMSG_CLOEXEC = 0x40000000
export const MSG_CTRUNC = 8
export const AF_UNIX = 1
export const SOCK_STREAM = 1
export const SOCK_CLOEXEC = 0o2000000

// linux/fs.h: _IOW(0x94, 9, int), _IOW(0x94, 13, struct file_clone_range)
export const FICLONE = 0x40049409
export const FICLONERANGE = 0x4020940d

// linux/fs.h: _IOWR('f', 16, struct pm_scan_arg), Linux 6.7. Categories of pages, also bits of its masks.
export const PAGEMAP_SCAN = 0xc0606610
export const PAGE_IS_FILE = 1 << 2
export const PAGE_IS_PRESENT = 1 << 3
export const PAGE_IS_SWAPPED = 1 << 4

// linux/falloc.h: FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
export const PUNCH_HOLE_KEEP_SIZE = 3

// linux/futex.h
export const FUTEX_WAKE_PRIVATE = 1 | 128

// linux/ptrace.h
export const PTRACE_CONT = 7
export const PTRACE_SINGLESTEP = 9
export const PTRACE_GETREGS = 12
export const PTRACE_SETREGS = 13
export const PTRACE_DETACH = 17
export const PTRACE_SYSCALL = 24
export const PTRACE_SETOPTIONS = 0x4200
export const PTRACE_GETEVENTMSG = 0x4201
export const PTRACE_SEIZE = 0x4206
export const PTRACE_INTERRUPT = 0x4207
export const PTRACE_LISTEN = 0x4208
export const PTRACE_GETSIGMASK = 0x420a
export const PTRACE_SETSIGMASK = 0x420b
export const PTRACE_GET_SYSCALL_INFO = 0x420e
export const PTRACE_O_TRACESYSGOOD = 1
export const PTRACE_O_TRACECLONE = 1 << 3
export const PTRACE_O_EXITKILL = 1 << 20
export const PTRACE_O_SUSPEND_SECCOMP = 1 << 21
export const PTRACE_EVENT_CLONE = 3
export const PTRACE_EVENT_STOP = 128

// linux/kvm.h: _IOW(0xAE, 0x42, struct kvm_dirty_log), _IOW(0xAE, 0x46, struct
// kvm_userspace_memory_region), _IOW(0xAE, 0x49, struct kvm_userspace_memory_region2)
export const KVM_GET_DIRTY_LOG = 0x4010ae42
export const KVM_SET_USER_MEMORY_REGION = 0x4020ae46
export const KVM_SET_USER_MEMORY_REGION2 = 0x40a0ae49
export const KVM_MEM_LOG_DIRTY_PAGES = 1

// linux/kvm.h: _IO(0xAE, n)
export const KVM_GET_API_VERSION = 0xae00
export const KVM_CREATE_VM = 0xae01
export const KVM_CHECK_EXTENSION = 0xae03
export const KVM_CAP_NR_MEMSLOTS = 10

// linux/userfaultfd.h. Sizes are part of the request numbers: a kernel with other structures refuses them.
// USERFAULTFD_IOC_NEW: _IO(0xAA, 0x00) on /dev/userfaultfd.
export const USERFAULTFD_IOC_NEW = 0xaa00
export const UFFDIO_API = 0xc018aa3f
export const UFFDIO_REGISTER = 0xc020aa00
export const UFFDIO_UNREGISTER = 0x8010aa01
export const UFFDIO_WAKE = 0x8010aa02
export const UFFDIO_COPY = 0xc028aa03
export const UFFDIO_ZEROPAGE = 0xc020aa04
export const UFFDIO_WRITEPROTECT = 0xc018aa06
export const UFFD_API = 0xaa
export const UFFDIO_REGISTER_MODE_MISSING = 1
export const UFFDIO_REGISTER_MODE_WP = 2
export const UFFDIO_WRITEPROTECT_MODE_WP = 1
export const UFFDIO_COPY_MODE_WP = 2
export const UFFD_FEATURE_EVENT_REMOVE = 1 << 3
/**
 * Flags of a page fault: it was a write; it met a write-protected page (without this one, a missing page).
 */
export const UFFD_PAGEFAULT_FLAG_WRITE = 1
export const UFFD_PAGEFAULT_FLAG_WP = 2

// include/linux/sched.h: in the flags of a task, field 9 of /proc/PID/stat: it is on its way out.
export const PF_EXITING = 0x4

/** Of the host: 4 KiB on x86_64 and on the aarch64 hosts that Varve runs on. */
export const pageBytes = 4096
