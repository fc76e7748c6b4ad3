/* Starts a child with pipes to the agent, in a session of its own. */
#include "agent.h"
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Takes the lowest descriptors, so that those which the agent opens never are ones that a child must get. */
void reserve_descriptors(void) {
  int null;
  do null = open("/dev/null", O_RDWR);
  while (null >= 0 && null < 2);
  while (null >= 0 && null < FIRST_OWN_DESCRIPTOR) {
    fcntl(null, F_SETFD, FD_CLOEXEC);
    null = open("/dev/null", O_RDWR);
  }
  if (null >= 0) close(null);
}

static void no_waiting(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

/* `ours` is the agent's end, which never blocks; the child's end stays as programs expect it. */
static bool make_pipe(bool wanted, bool ours_reads, int *ours, int *childs) {
  int ends[2];
  *ours = *childs = -1;
  if (!wanted) return true;
  if (pipe2(ends, O_CLOEXEC) != 0) return false;
  *ours = ends[ours_reads ? 0 : 1];
  *childs = ends[ours_reads ? 1 : 0];
  no_waiting(*ours);
  return true;
}

/* The kernel gives the other end by number: the child may have no /dev/pts. */
static bool make_terminal(const struct plan *plan, int *master, int *slave) {
  struct winsize size = {.ws_row = plan->rows, .ws_col = plan->columns};
  int unlock = 0;
  *master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
  if (*master < 0) return false;
  if (ioctl(*master, TIOCSPTLCK, &unlock) == 0)
    *slave = ioctl(*master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  return *slave >= 0 && ioctl(*master, TIOCSWINSZ, &size) == 0;
}

static void close_from(unsigned first) {
  if (syscall(SYS_close_range, first, ~0u, 0) == 0) return;
  for (unsigned fd = first; fd < 1024; fd++) close(fd);
}

static void place(int fd, int target) {
  if (fd >= 0) dup2(fd, target);
}

static void in_child(struct call *c, const struct plan *plan, const int ends[4], void (*body)(struct call *)) {
  sigset_t none;
  sigemptyset(&none);
  setsid();
  int null = open("/dev/null", O_RDWR);
  for (int fd = 0; fd < 3; fd++) place(ends[fd] >= 0 ? ends[fd] : null, fd);
  place(plan->requests, 3);
  place(plan->replies, 4);
  if (plan->log >= 0) place(plan->log, 1), place(plan->log, 2);
  place(ends[3], CHILD_STATUS);
  fcntl(CHILD_STATUS, F_SETFD, FD_CLOEXEC);
  close_from(CHILD_STATUS + 1);
  if (plan->requests < 0) close(3), close(4);
  if (plan->tty) ioctl(0, TIOCSCTTY, 0);
  signal(SIGPIPE, SIG_DFL);
  sigprocmask(SIG_SETMASK, &none, NULL);
  body(c);
  _exit(0);
}

/* Runs `body` in a child. On success the call has its pipes and is STARTING; else it has failed. */
bool spawn(struct call *c, const struct plan *plan, void (*body)(struct call *)) {
  int ends[4] = {-1, -1, -1, -1};
  bool made;
  if (plan->tty) {
    made = make_terminal(plan, &c->output[1], &ends[0]);
    c->input = made ? fcntl(c->output[1], F_DUPFD_CLOEXEC, FIRST_OWN_DESCRIPTOR) : -1;
    ends[1] = ends[2] = ends[0];
  } else
    made = make_pipe(plan->input, false, &c->input, &ends[0]) &&
           make_pipe(plan->output, true, &c->output[1], &ends[1]) &&
           make_pipe(plan->error, true, &c->output[2], &ends[2]);
  made = made && make_pipe(true, true, &c->status, &ends[3]);
  pid_t pid = made ? fork() : -1;
  if (pid == 0) in_child(c, plan, ends, body);
  int error = errno;
  for (int i = 0; i < 4; i++)
    if (ends[i] >= 0 && !(plan->tty && (i == 1 || i == 2))) close(ends[i]);
  if (pid < 0) {
    fail(c, "FAILED", error, "a process could not be started");
    return false;
  }
  c->pid = pid;
  c->tty = plan->tty;
  c->phase = STARTING;
  return true;
}

/* Below: called in the child. */
void report_to_agent(const struct report *report) { write_all(CHILD_STATUS, report, sizeof *report); }

void child_fails(const char *code, int error, const char *text) {
  struct report report = {.kind = R_FAILED, .error = error};
  strncpy(report.code, code, sizeof report.code - 1);
  strncpy(report.text, text, sizeof report.text - 1);
  report_to_agent(&report);
  _exit(127);
}
