/* What the kernel's own headers have and musl's have not: musl-gcc looks into its own only. */
#ifndef KERNEL_H
#define KERNEL_H
#include <stdint.h>
#include <sys/ioctl.h>

/* linux/vm_sockets.h */
enum { VSOCK_CID_ANY = -1, VSOCK_CID_HOST = 2 };
struct sockaddr_vm {
  uint16_t svm_family, reserved;
  uint32_t svm_port, svm_cid;
  uint8_t flags, zero[3];
};

/* linux/random.h */
#define RNDADDENTROPY _IOW('R', 3, int[2])
#define RNDRESEEDCRNG _IO('R', 7)
#endif
