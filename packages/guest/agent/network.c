/* IPv4 address and routes of an interface, by the ioctls that every kernel has. */
#include "agent.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <net/route.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static uint32_t mask_of(unsigned prefix) { return prefix == 0 ? 0 : htonl(~0u << (32 - prefix)); }

static void set_ip(struct sockaddr *to, const void *ip) {
  struct sockaddr_in it = {.sin_family = AF_INET};
  memcpy(&it.sin_addr, ip, 4);
  memcpy(to, &it, sizeof it);
}

/* `value`: u8 prefix, addresses, name of the interface. Checks it and copies the name. */
static bool take(struct bytes value, unsigned addresses, char *interface) {
  unsigned at = 1 + 4 * addresses;
  if (value.length <= at || value.at[0] > 32 || memchr(value.at + at, 0, value.length - at)) return false;
  return text_of((struct bytes){value.at + at, value.length - at}, interface, IFNAMSIZ);
}

/* The kernel removes the routes of an address that another replaces. */
int set_address(struct bytes value) {
  struct ifreq request = {0};
  if (!take(value, 1, request.ifr_name)) return EINVAL;
  uint32_t mask = mask_of(value.at[0]);
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  set_ip(&request.ifr_addr, value.at + 1);
  bool done = ioctl(fd, SIOCSIFADDR, &request) == 0;
  if (done) {
    set_ip(&request.ifr_netmask, &mask);
    done = ioctl(fd, SIOCSIFNETMASK, &request) == 0 && ioctl(fd, SIOCGIFFLAGS, &request) == 0;
  }
  if (done) {
    request.ifr_flags |= IFF_UP | IFF_RUNNING;
    done = ioctl(fd, SIOCSIFFLAGS, &request) == 0;
  }
  int error = done ? 0 : errno;
  close(fd);
  return error;
}

int add_route(struct bytes value) {
  char interface[IFNAMSIZ];
  struct rtentry route = {.rt_flags = RTF_UP, .rt_dev = interface};
  static const uint8_t none[4];
  if (!take(value, 2, interface)) return EINVAL;
  uint32_t mask = mask_of(value.at[0]);
  set_ip(&route.rt_dst, value.at + 1);
  set_ip(&route.rt_genmask, &mask);
  set_ip(&route.rt_gateway, value.at + 5);
  if (memcmp(value.at + 5, none, 4) != 0) route.rt_flags |= RTF_GATEWAY;
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  int error = ioctl(fd, SIOCADDRT, &route) == 0 || errno == EEXIST ? 0 : errno;
  close(fd);
  return error;
}
