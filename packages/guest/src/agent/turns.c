/* For turns.test.ts, which links it with the agent in the place of main.c: connections and ended processes
 * that never run out. Says how many of each the agent takes in one turn of its loop. */
#include "agent.h"
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static unsigned accepted, reaped, turns;

static void print(unsigned value) {
  char digits[24], *end = digits + sizeof digits;
  char *at = decimal(value, end);
  write_all(1, at, end - at);
  write_all(1, "\n", 1);
}

/* Not a socket, so not the host. */
int __wrap_accept4(int listener, struct sockaddr *address, socklen_t *length, int flags) {
  (void)listener, (void)address, (void)length, (void)flags;
  accepted++;
  return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

int __wrap_waitid(idtype_t type, id_t id, siginfo_t *info, int options) {
  (void)type, (void)id, (void)options;
  reaped++;
  info->si_pid = 0x7fffffff;
  return 0;
}

int __wrap_poll(struct pollfd *watched, nfds_t count, int timeout) {
  (void)timeout;
  if (turns++ > 0) print(accepted), print(reaped);
  if (turns > 3) _exit(0);
  accepted = reaped = 0;
  for (nfds_t i = 0; i < count; i++) watched[i].revents = i < 2 ? POLLIN : 0;
  return 2;
}

int main(void) { run_agent(0, true); }
