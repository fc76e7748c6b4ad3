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

/* linux/netlink.h, linux/rtnetlink.h, linux/if_addr.h */
enum { NETLINK_ROUTE = 0, NLMSG_ERROR = 2, NLMSG_DONE = 3 };
enum { NLM_F_REQUEST = 1, NLM_F_ACK = 4, NLM_F_REPLACE = 0x100, NLM_F_CREATE = 0x400, NLM_F_DUMP = 0x300 };
enum { RTM_NEWLINK = 16, RTM_NEWADDR = 20, RTM_DELADDR = 21, RTM_GETADDR = 22, RTM_NEWROUTE = 24 };
enum { IFA_ADDRESS = 1, IFA_LOCAL = 2, RTA_DST = 1, RTA_OIF = 4, RTA_GATEWAY = 5 };
enum { RT_TABLE_MAIN = 254, RTPROT_STATIC = 4, RT_SCOPE_LINK = 253, RT_SCOPE_HOST = 254, RTN_UNICAST = 1 };
struct nlmsghdr { uint32_t length; uint16_t type, flags; uint32_t sequence, port; };
struct ifinfomsg { uint8_t family, pad; uint16_t type; int32_t index; uint32_t flags, change; };
struct ifaddrmsg { uint8_t family, prefix, flags, scope; uint32_t index; };
struct rtmsg { uint8_t family, to_prefix, from_prefix, tos, table, protocol, scope, type; uint32_t flags; };
struct rtattr { uint16_t length, type; };

/* linux/random.h */
#define RNDADDENTROPY _IOW('R', 3, int[2])
#define RNDRESEEDCRNG _IO('R', 7)
#endif
