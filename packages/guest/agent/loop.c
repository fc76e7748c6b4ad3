/* The loop: waits until something can be done, reaps children, accepts connections, serves calls. */
#include "agent.h"
#include "kernel.h"
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_REAPED = 256 };       /* a turn */
enum { MAX_WATCHED = 2 + MAX_CALLS * 6 + MAX_FUNCTIONS * 2 };

static struct pollfd watched[MAX_WATCHED];
static unsigned count;
/* Where the descriptors of a call begin in `watched`. */
static uint16_t first_of[MAX_CALLS + 1];

int64_t now_us(void) {
  struct timespec it;
  clock_gettime(CLOCK_MONOTONIC, &it);
  return it.tv_sec * 1000000ll + it.tv_nsec / 1000;
}

int64_t now_ms(void) { return now_us() / 1000; }

void watch(int fd, short events) { watched[count++] = (struct pollfd){.fd = fd, .events = events}; }

static int until_next_deadline(void) {
  int64_t next = functions_deadline();
  for (int i = 0; i < MAX_CALLS; i++)
    if (calls[i].phase != FREE && calls[i].deadline_ms != 0 && (next == 0 || calls[i].deadline_ms < next))
      next = calls[i].deadline_ms;
  if (next == 0) return -1;
  int64_t left = next - now_ms();
  return left < 0 ? 0 : left > 3600000 ? 3600000 : left;
}

/* The leader of a group is looked at before it is reaped: until then its number cannot be given anew. False
 * if there may be more: a program of the guest whose orphans end without end must not keep process 1. */
static bool reap(void) {
  siginfo_t info;
  for (int count = 0; count < MAX_REAPED; count++) {
    info.si_pid = 0;
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return true;
    int status = info.si_code == CLD_EXITED ? info.si_status << 8 : info.si_status;
    child_ended(info.si_pid, status);
    waitpid(info.si_pid, NULL, WNOHANG);
  }
  return false;
}

static void take_signals(int signals) {
  struct signalfd_siginfo info;
  while (read(signals, &info, sizeof info) == sizeof info)
    if (info.ssi_signo != SIGCHLD && getpid() == 1) shut_down();
}

/* The host is CID 2. Programs of the guest, and other guests, are turned away. */
static bool is_host(int socket) {
  struct sockaddr_vm peer;
  socklen_t length = sizeof peer;
  return getpeername(socket, (struct sockaddr *)&peer, &length) == 0 && peer.svm_family == AF_VSOCK &&
         peer.svm_cid == VSOCK_CID_HOST;
}

/* A few at a time: a program of the guest that connects without end must not keep the loop. */
static void accept_calls(int listener, bool only_host) {
  for (int turn = 0; turn < MAX_CALLS; turn++) {
    int slot = 0;
    while (slot < MAX_CALLS && calls[slot].phase != FREE) slot++;
    if (slot == MAX_CALLS) return;
    int socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (socket < 0) return;
    if (only_host && !is_host(socket)) close(socket);
    else serve_call(take_call(socket));
  }
}

static bool has_slot(void) {
  for (int i = 0; i < MAX_CALLS; i++)
    if (calls[i].phase == FREE) return true;
  return false;
}

static bool is_due(struct call *c, unsigned from, unsigned to) {
  if (c->deadline_ms != 0 && now_ms() >= c->deadline_ms) return true;
  for (unsigned i = from; i < to; i++)
    if (watched[i].revents != 0) return true;
  return c->exited || c->phase == QUEUED;
}

void run_agent(int listener, bool only_host) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  if (getpid() == 1) sigaddset(&set, SIGINT), sigaddset(&set, SIGTERM), sigaddset(&set, SIGPWR);
  sigprocmask(SIG_BLOCK, &set, NULL);
  signal(SIGPIPE, SIG_IGN);
  int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  for (bool all_reaped = true;;) {
    count = 0;
    watch(signals, POLLIN);
    watch(has_slot() ? listener : -1, POLLIN);
    for (int i = 0; i < MAX_CALLS; i++) {
      first_of[i] = count;
      if (calls[i].phase != FREE) watch_call(&calls[i]);
    }
    first_of[MAX_CALLS] = count;
    watch_functions();
    poll(watched, count, all_reaped ? until_next_deadline() : 0);
    bool signalled = watched[0].revents != 0;
    if (signalled) take_signals(signals);
    if (signalled || !all_reaped) all_reaped = reap();
    serve_functions();
    for (int i = 0; i < MAX_CALLS; i++)
      if (calls[i].phase != FREE && is_due(&calls[i], first_of[i], first_of[i + 1])) serve_call(&calls[i]);
    if (watched[1].revents != 0) accept_calls(listener, only_host);
  }
}
