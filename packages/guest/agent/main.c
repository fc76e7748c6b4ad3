/* varve-agent            beside an init of the guest: listens on vsock
 * varve-agent --init     as process 1
 * varve-agent --unix PATH   listens on a Unix socket: for tests, without a VM */
#include "agent.h"
#include "kernel.h"
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* The system's own queue of connections that wait for a slot. */
enum { BACKLOG = 128 };

static int listen_vsock(void) {
  struct sockaddr_vm address = {.svm_family = AF_VSOCK, .svm_port = AGENT_PORT, .svm_cid = VSOCK_CID_ANY};
  int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, BACKLOG) == 0) return fd;
  if (fd >= 0) close(fd);
  return -1;
}

static int listen_unix(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (strlen(path) >= sizeof address.sun_path) return -1;
  strcpy(address.sun_path, path);
  umask(0077);
  int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  bool listens = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, BACKLOG) == 0;
  umask(0022);
  return listens ? fd : -1;
}

/* The driver may come later than the agent. Process 1 must never end; others are started again. */
static int wait_for_vsock(bool for_ever) {
  struct timespec pause = {.tv_nsec = 100000000};
  int fd = -1;
  for (int tries = 0; fd < 0 && (for_ever || tries < 100); tries++) {
    nanosleep(&pause, NULL);
    fd = listen_vsock();
  }
  return fd;
}

int main(int count, char **args) {
  bool is_init = count > 1 && strcmp(args[1], "--init") == 0;
  int rest = is_init ? 2 : 1;
  bool is_unix = count == rest + 2 && strcmp(args[rest], "--unix") == 0;
  if (count != rest && !is_unix) {
    say("usage: varve-agent [--init] [--unix PATH]");
    return 2;
  }
  if (is_init) start_as_init();
  reserve_descriptors();
  chdir("/");
  // First of all: any program of the guest may take the port, and the host would take it for the agent.
  int listener = is_unix ? listen_unix(args[rest + 1]) : listen_vsock();
  if (is_init) start_entry();
  if (listener < 0 && !is_unix) listener = wait_for_vsock(is_init);
  if (listener < 0) {
    say(is_unix ? "the Unix socket cannot be made" : "there is no vsock");
    return 1;
  }
  run_agent(listener, !is_unix);
}
