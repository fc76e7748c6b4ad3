/* IPv4 addresses and routes of an interface, by netlink (man 7 rtnetlink). */
#include "agent.h"
#include "kernel.h"
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MAX_OTHERS = 32 };

/* A request: header, the message of its kind, attributes. All parts are multiples of four bytes here. */
struct request { struct nlmsghdr header; uint8_t rest[64]; };

static void begin(struct request *r, int type, int flags, const void *message, uint32_t length) {
  memset(r, 0, sizeof *r);
  r->header = (struct nlmsghdr){.length = sizeof r->header + length, .type = type, .flags = NLM_F_REQUEST | flags};
  memcpy(r->rest, message, length);
}

static void attribute(struct request *r, int type, const void *four_bytes) {
  uint8_t *at = (uint8_t *)r + r->header.length;
  memcpy(at, &(struct rtattr){.length = 8, .type = type}, 4);
  memcpy(at + 4, four_bytes, 4);
  r->header.length += 8;
}

/* Sends a request and takes its answer, an error number that may be 0. */
static int ask(int fd, struct request *r) {
  uint8_t answer[512];
  r->header.flags |= NLM_F_ACK;
  if (send(fd, r, r->header.length, 0) < 0) return errno;
  ssize_t got = recv(fd, answer, sizeof answer, 0);
  if (got < 0) return errno;
  struct nlmsghdr header;
  memcpy(&header, answer, sizeof header);
  if (got < (ssize_t)sizeof header + 4 || header.type != NLMSG_ERROR) return EPROTO;
  return -(int32_t)get32(answer + sizeof header);
}

/* Finds the other IPv4 addresses of the interface. Changing while they are listed would end the list. */
static int others(int fd, uint32_t index, struct ifaddrmsg *found, uint32_t *address) {
  static uint8_t answer[8192];
  struct request r;
  int count = 0;
  ssize_t got;
  begin(&r, RTM_GETADDR, NLM_F_DUMP, &(struct ifaddrmsg){.family = AF_INET}, sizeof(struct ifaddrmsg));
  if (send(fd, &r, r.header.length, 0) < 0) return 0;
  while ((got = recv(fd, answer, sizeof answer, 0)) > 0)
    for (uint32_t at = 0; at + sizeof(struct nlmsghdr) <= (uint32_t)got;) {
      struct nlmsghdr *header = (struct nlmsghdr *)(answer + at);
      struct ifaddrmsg *it = (struct ifaddrmsg *)(header + 1);
      if (header->type != RTM_NEWADDR || header->length < sizeof *header) return count;
      if (header->length > (uint32_t)got - at) return count;
      // 127.0.0.1 has the scope of the host, and stays.
      for (uint32_t part = at + sizeof *header + sizeof *it; part + 8 <= at + header->length;) {
        struct rtattr *attribute = (struct rtattr *)(answer + part);
        if (attribute->type == IFA_LOCAL && it->index == index && it->scope != RT_SCOPE_HOST && count < MAX_OTHERS)
          found[count] = *it, address[count++] = get32(answer + part + 4);
        if (attribute->length < 4) return count;
        part += (attribute->length + 3) & ~3u;
      }
      at += (header->length + 3) & ~3u;
    }
  return count;
}

/* `value`: u8 prefix, addresses, name of the interface. Checks it; returns the interface's index, or 0. */
static uint32_t take(struct bytes value, unsigned addresses) {
  unsigned at = 1 + 4 * addresses;
  char name[IFNAMSIZ];
  if (value.length <= at || value.at[0] > 32 || memchr(value.at + at, 0, value.length - at)) return 0;
  if (!text_of((struct bytes){value.at + at, value.length - at}, name, sizeof name)) return 0;
  return if_nametoindex(name);
}

static int open_netlink(void) { return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE); }

static int bring_up(int fd, uint32_t index) {
  struct request r;
  struct ifinfomsg up = {.index = index, .flags = IFF_UP, .change = IFF_UP};
  begin(&r, RTM_NEWLINK, 0, &up, sizeof up);
  return ask(fd, &r);
}

/* The kernel removes the routes of an address that goes. */
int set_address(struct bytes value) {
  struct ifaddrmsg known[MAX_OTHERS];
  uint32_t address[MAX_OTHERS], index = take(value, 1);
  struct request r;
  if (index == 0) return ENODEV;
  int fd = open_netlink(), error = 0;
  if (fd < 0) return errno;
  int count = others(fd, index, known, address);
  bool there = false;
  for (int i = 0; i < count && error == 0; i++) {
    bool same = known[i].prefix == value.at[0] && address[i] == get32(value.at + 1);
    there |= same;
    if (same) continue;
    begin(&r, RTM_DELADDR, 0, &known[i], sizeof known[i]);
    attribute(&r, IFA_LOCAL, &address[i]);
    error = ask(fd, &r);
    // It went with the one before, whose network it was in.
    if (error == EADDRNOTAVAIL) error = 0;
  }
  if (error == 0 && !there) {
    struct ifaddrmsg wanted = {.family = AF_INET, .prefix = value.at[0], .index = index};
    begin(&r, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, &wanted, sizeof wanted);
    attribute(&r, IFA_LOCAL, value.at + 1);
    attribute(&r, IFA_ADDRESS, value.at + 1);
    error = ask(fd, &r);
  }
  if (error == 0) error = bring_up(fd, index);
  close(fd);
  return error;
}

/* Replaces a route to the same network. */
int add_route(struct bytes value) {
  uint32_t index = take(value, 2);
  struct request r;
  if (index == 0) return ENODEV;
  bool has_gateway = get32(value.at + 5) != 0;
  struct rtmsg route = {.family = AF_INET, .to_prefix = value.at[0], .table = RT_TABLE_MAIN,
                        .protocol = RTPROT_STATIC, .type = RTN_UNICAST};
  if (!has_gateway) route.scope = RT_SCOPE_LINK;
  begin(&r, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, &route, sizeof route);
  attribute(&r, RTA_DST, value.at + 1);
  attribute(&r, RTA_OIF, &index);
  if (has_gateway) attribute(&r, RTA_GATEWAY, value.at + 5);
  int fd = open_netlink();
  if (fd < 0) return errno;
  int error = ask(fd, &r);
  close(fd);
  return error;
}
