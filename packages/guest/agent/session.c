/* Finds processes in /proc without memory of its own. */
#include "agent.h"
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct entry { uint64_t inode; int64_t offset; uint16_t length; uint8_t type; char name[]; };

void for_each_process(void (*visit)(pid_t pid, void *context), void *context) {
  char entries[1024] __attribute__((aligned(8)));
  int directory = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  long got;
  if (directory < 0) return;
  while ((got = syscall(SYS_getdents64, directory, entries, sizeof entries)) > 0)
    for (long at = 0; at < got;) {
      struct entry *it = (struct entry *)(entries + at);
      pid_t pid = 0;
      for (char *digit = it->name; *digit >= '0' && *digit <= '9'; digit++) pid = pid * 10 + (*digit - '0');
      if (pid > 0) visit(pid, context);
      at += it->length;
    }
  close(directory);
}

/* /proc/PID/stat: pid (name) state parent group session …; the name may have brackets and blanks. */
static pid_t session_of(pid_t pid) {
  char path[32] = "/proc/", digits[16], text[512], *end = digits + sizeof digits - 1;
  *end = 0;
  strcat(strcat(path, decimal(pid, end)), "/stat");
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return -1;
  ssize_t got = read(fd, text, sizeof text - 1);
  close(fd);
  if (got <= 0) return -1;
  text[got] = 0;
  char *at = strrchr(text, ')');
  for (int blanks = 0; at != NULL && *at != 0; at++)
    if (*at == ' ' && ++blanks == 4) {
      pid_t session = 0;
      while (*++at >= '0' && *at <= '9') session = session * 10 + (*at - '0');
      return session;
    }
  return -1;
}

/* By a descriptor, which is opened first: until the signal, the number may become another's. */
static void kill_if_in_session(pid_t pid, void *session) {
  int process = syscall(SYS_pidfd_open, pid, 0);
  bool is_old_kernel = process < 0 && errno == ENOSYS;
  if (session_of(pid) == *(pid_t *)session) {
    if (is_old_kernel) kill(pid, SIGKILL);
    else syscall(SYS_pidfd_send_signal, process, SIGKILL, NULL, 0);
  }
  if (process >= 0) close(process);
}

/* A shell on a terminal gives each job a group of its own; they have the session in common. */
void kill_session(pid_t session) { for_each_process(kill_if_in_session, &session); }
