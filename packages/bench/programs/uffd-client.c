// Plays a VMM whose memory is served through userfaultfd: maps memory, sends the handshake as Firecracker
// does, touches every page once in random order, and prints what it took.
// uffd-client SOCKET PAGES touch|sparse|wait
//   touch:  a line of JSON, {"firstUs", "tenthsUs" (the mean of a fault in each tenth of them), "pagesPerS",
//           "p50Us", "p99Us", "secondPassNs", "wrong"}
//   sparse: the same with each 13th page only, ascending: no two of them are neighbours
//   wait:   waits for a line on standard input, then counts the pages that are wrong; none of them may fault
//           for long
// Page n of the memory file must hold n in its second 64-bit word.
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static const size_t page_bytes = 4096;
static const size_t apart = 13;

static void must(int fine, const char *what) {
  if (fine) return;
  perror(what);
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

static void send_handshake(const char *path, const void *memory, size_t length, int uffd) {
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  must(strlen(path) < sizeof to.sun_path, "socket path");
  strcpy(to.sun_path, path);
  int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  must(fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) == 0, "connect");
  char text[256];
  int size = snprintf(text, sizeof text,
                      "[{\"base_host_virt_addr\":%llu,\"size\":%zu,\"offset\":0,\"page_size\":%zu}]",
                      (unsigned long long)(uintptr_t)memory, length, page_bytes);
  char control[CMSG_SPACE(sizeof(int))] = {0};
  struct iovec part = {.iov_base = text, .iov_len = (size_t)size};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(head), &uffd, sizeof uffd);
  must(sendmsg(fd, &message, 0) == size, "sendmsg");
  // Stays open, as in Firecracker from 1.12 on.
}

int main(int argc, char **argv) {
  must(argc == 4, "uffd-client SOCKET PAGES touch|sparse|wait");
  size_t pages = strtoull(argv[2], NULL, 10);
  must(pages >= apart && pages <= 1u << 22, "PAGES");
  size_t length = pages * page_bytes;
  char *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  must(memory != MAP_FAILED, "mmap");
  // Or a zero run of 2 MiB could come as one huge page.
  madvise(memory, length, MADV_NOHUGEPAGE);
  int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
  must(uffd >= 0, "userfaultfd");
  struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_EVENT_REMOVE};
  must(ioctl(uffd, UFFDIO_API, &api) == 0, "UFFDIO_API");
  struct uffdio_register range = {.range = {(uintptr_t)memory, length}, .mode = UFFDIO_REGISTER_MODE_MISSING};
  must(ioctl(uffd, UFFDIO_REGISTER, &range) == 0, "UFFDIO_REGISTER");

  uint32_t *order = malloc(pages * sizeof *order), *took = malloc(pages * sizeof *took);
  must(order && took, "malloc");
  int sparse = strcmp(argv[3], "sparse") == 0;
  size_t touched = sparse ? pages / apart : pages;
  for (size_t i = 0; i < touched; i++) order[i] = (uint32_t)(sparse ? i * apart : i);
  uint64_t seed = 88172645463325252u;
  for (size_t i = touched - 1; !sparse && i > 0; i--) {
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    size_t j = seed % (i + 1);
    uint32_t kept = order[i];
    order[i] = order[j], order[j] = kept;
  }

  char line[16];
  printf("here\n"), fflush(stdout);
  must(fgets(line, sizeof line, stdin) != NULL, "standard input");
  send_handshake(argv[1], memory, length, uffd);
  if (strcmp(argv[3], "wait") == 0) must(fgets(line, sizeof line, stdin) != NULL, "standard input");

  uint64_t wrong = 0, begin = now_ns(), before = begin, second = 0;
  for (size_t i = 0; i < touched; i++) {
    uint64_t word = *(volatile uint64_t *)(memory + order[i] * page_bytes + 8), now = now_ns();
    took[i] = (uint32_t)(now - before);
    before = now;
    wrong += word != order[i];
  }
  double seconds = (double)(before - begin) / 1e9;
  begin = now_ns();
  for (size_t i = 0; i < touched; i++) wrong += *(volatile uint64_t *)(memory + order[i] * page_bytes + 8) != order[i];
  second = now_ns() - begin;
  printf("{\"firstUs\":%.1f,\"tenthsUs\":[", took[0] / 1e3);
  for (size_t tenth = 0; tenth < 10; tenth++) {
    size_t from = touched * tenth / 10, to = touched * (tenth + 1) / 10;
    double sum = 0;
    for (size_t i = from; i < to; i++) sum += took[i] / 1e3;
    printf("%s%.2f", tenth == 0 ? "" : ",", sum / (double)(to - from));
  }
  qsort(took, touched, sizeof *took, by_size);
  printf("],\"pagesPerS\":%.0f,\"p50Us\":%.2f,\"p99Us\":%.2f,\"secondPassNs\":%.0f,\"wrong\":%llu}\n",
         (double)touched / seconds, took[touched / 2] / 1e3, took[touched - 1 - touched / 100] / 1e3,
         (double)second / (double)touched, (unsigned long long)wrong);
  return 0;
}
