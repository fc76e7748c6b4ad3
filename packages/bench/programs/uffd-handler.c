// Serves one VM's memory through userfaultfd from one flat memory file, in plain C: what the page server is
// measured against.
// uffd-handler SOCKET FILE example|tight|bulk|bulk-direct
//   example      like Firecracker's example handler: poll, one message a read, one page a message, file
//                mapped but not touched before
//   tight        the least a handler can do: one sleeping read of up to 64 messages, file mapped with its
//                pages in the page table
//   bulk         installs everything, 2 MiB a call, from the mapped file; prints {"ms"}
//   bulk-direct  the same, each 2 MiB read past the page cache into a buffer first
// Trusts its peer: for measurements only.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <errno.h>

enum { page_bytes = 4096, piece_bytes = 2 << 20, most_regions = 16, most_messages = 64 };

struct region {
  uint64_t address, size, offset;
};

static void must(int fine, const char *what) {
  if (fine) return;
  perror(what);
  exit(1);
}

static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static uint64_t field(const char *from, const char *name) {
  const char *at = strstr(from, name);
  must(at != NULL, name);
  return strtoull(at + strlen(name), NULL, 10);
}

static int accept_handshake(const char *path, struct region *regions, int *uffd) {
  struct sockaddr_un own = {.sun_family = AF_UNIX};
  must(strlen(path) < sizeof own.sun_path, "socket path");
  strcpy(own.sun_path, path);
  int listener = socket(AF_UNIX, SOCK_STREAM, 0);
  must(listener >= 0 && bind(listener, (struct sockaddr *)&own, sizeof own) == 0 && listen(listener, 1) == 0, "listen");
  printf("ready\n"), fflush(stdout);
  int fd = accept(listener, NULL, NULL);
  must(fd >= 0, "accept");
  static char text[65536];
  char control[CMSG_SPACE(sizeof(int))];
  struct iovec part = {.iov_base = text, .iov_len = sizeof text - 1};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  must(recvmsg(fd, &message, 0) > 0, "recvmsg");
  struct cmsghdr *head = CMSG_FIRSTHDR(&message);
  must(head != NULL && head->cmsg_type == SCM_RIGHTS, "no descriptor");
  memcpy(uffd, CMSG_DATA(head), sizeof *uffd);
  int count = 0;
  for (const char *at = text; (at = strchr(at, '{')) != NULL && count < most_regions; at++)
    regions[count++] = (struct region){field(at, "\"base_host_virt_addr\":"), field(at, "\"size\":"), field(at, "\"offset\":")};
  return count;
}

static const struct region *region_of(const struct region *regions, int count, uint64_t address) {
  for (int i = 0; i < count; i++)
    if (address - regions[i].address < regions[i].size) return &regions[i];
  must(0, "fault outside every region");
  return NULL;
}

static void copy(int uffd, uint64_t to, const char *from, uint64_t length) {
  struct uffdio_copy it = {.dst = to, .src = (uintptr_t)from, .len = length};
  if (ioctl(uffd, UFFDIO_COPY, &it) == 0) return;
  must(errno == EEXIST || errno == ESRCH, "UFFDIO_COPY");
  struct uffdio_range waiting = {to, length};
  if (errno == EEXIST) ioctl(uffd, UFFDIO_WAKE, &waiting);
}

static void answer(int uffd, const struct region *regions, int count, const char *file, const struct uffd_msg *message) {
  if (message->event != UFFD_EVENT_PAGEFAULT) return;
  uint64_t address = message->arg.pagefault.address & ~(uint64_t)(page_bytes - 1);
  const struct region *region = region_of(regions, count, address);
  copy(uffd, address, file + region->offset + (address - region->address), page_bytes);
}

int main(int argc, char **argv) {
  must(argc == 4, "uffd-handler SOCKET FILE example|tight|bulk|bulk-direct");
  const char *mode = argv[3];
  int tight = strcmp(mode, "tight") == 0, direct = strcmp(mode, "bulk-direct") == 0;
  int file = open(argv[2], O_RDONLY | (direct ? O_DIRECT : 0));
  struct stat about;
  must(file >= 0 && fstat(file, &about) == 0, argv[2]);
  char *from = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE | (tight ? MAP_POPULATE : 0), file, 0);
  char *buffer = mmap(NULL, piece_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  must(from != MAP_FAILED && buffer != MAP_FAILED, "mmap");
  struct region regions[most_regions];
  int uffd, count = accept_handshake(argv[1], regions, &uffd);

  if (strncmp(mode, "bulk", 4) == 0) {
    double begin = now_ms();
    for (int i = 0; i < count; i++)
      for (uint64_t at = 0; at < regions[i].size; at += piece_bytes) {
        uint64_t length = regions[i].size - at < piece_bytes ? regions[i].size - at : piece_bytes;
        const char *source = from + regions[i].offset + at;
        if (direct) {
          must(pread(file, buffer, length, (off_t)(regions[i].offset + at)) == (ssize_t)length, "pread");
          source = buffer;
        }
        copy(uffd, regions[i].address + at, source, length);
      }
    printf("{\"ms\":%.3f}\n", now_ms() - begin), fflush(stdout);
    pause();
  }

  struct uffd_msg messages[most_messages];
  // The description is shared with the VMM, which does not read it.
  if (tight) must(fcntl(uffd, F_SETFL, fcntl(uffd, F_GETFL) & ~O_NONBLOCK) == 0, "F_SETFL");
  for (;;) {
    struct pollfd poller = {.fd = uffd, .events = POLLIN};
    if (!tight) must(poll(&poller, 1, -1) > 0, "poll");
    ssize_t bytes = read(uffd, messages, tight ? sizeof messages : sizeof messages[0]);
    if (bytes < 0 && errno == EAGAIN) continue;
    must(bytes > 0, "read");
    for (size_t i = 0; i < (size_t)bytes / sizeof messages[0]; i++) answer(uffd, regions, count, from, &messages[i]);
  }
}
