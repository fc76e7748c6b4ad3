/* The agent as process 1: mounts what programs expect, starts the image's own program, reaps everything. */
#include "agent.h"
#include <fcntl.h>
#include <net/if.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const struct { const char *type, *target, *data; unsigned long flags; mode_t mode; } mounts[] = {
  {"proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0555},
  {"sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0555},
  {"devtmpfs", "/dev", NULL, MS_NOSUID, 0755},
  {"devpts", "/dev/pts", "mode=620,ptmxmode=666", MS_NOSUID | MS_NOEXEC, 0755},
  {"tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV, 01777},
  {"tmpfs", "/run", "mode=755", MS_NOSUID | MS_NODEV, 0755},
  {"tmpfs", "/tmp", "mode=1777", MS_NOSUID | MS_NODEV, 01777},
};

static void bring_loopback_up(void) {
  struct ifreq request = {.ifr_name = "lo"};
  int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (ioctl(fd, SIOCGIFFLAGS, &request) == 0) {
    request.ifr_flags |= IFF_UP;
    ioctl(fd, SIOCSIFFLAGS, &request);
  }
  close(fd);
}

/* A stage before this may have mounted some of it (EBUSY), and the root may be read-only. */
void start_as_init(void) {
  for (unsigned i = 0; i < sizeof mounts / sizeof mounts[0]; i++) {
    struct stat there, parent;
    const char *target = mounts[i].target;
    mkdir(target, mounts[i].mode);
    bool is_run_or_tmp = i >= 5;
    // What was put into /run or /tmp before must stay.
    bool known = stat(target, &there) == 0 && stat("/", &parent) == 0;
    if (is_run_or_tmp && known && there.st_dev != parent.st_dev) continue;
    int failed = mount(mounts[i].type, target, mounts[i].type, mounts[i].flags, mounts[i].data);
    if (failed && errno != EBUSY) say(target);
  }
  int console = open("/dev/console", O_RDWR | O_NOCTTY);
  for (int fd = 0; console >= 0 && fd < 3; fd++) dup2(console, fd);
  if (console > 2) close(console);
  setsid();
  bring_loopback_up();
  // Ctrl-Alt-Del, which Firecracker can send, becomes SIGINT: shut_down.
  reboot(RB_DISABLE_CAD);
}

/* The image's program: the arguments in /etc/varve/image, if it has any. What it writes goes to the console.
 * run_command takes its environment, folder and user from the same file. */
void start_entry(void) {
  static uint8_t request[12 + MAX_OPEN_BYTES + 1];
  static struct call entry = {.in = request, .output = {-1, -1, -1}};
  int fd = open("/etc/varve/image", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  ssize_t got = read(fd, request + 12, MAX_OPEN_BYTES);
  close(fd);
  struct bytes value, fields = {request + 12, got > 0 ? got : 0};
  if (!fields_are_whole(fields)) return say("/etc/varve/image is damaged");
  entry.open_bytes = 12 + fields.length;
  if (!find_field(&entry, T_ARG, &value)) return;
  pid_t pid = fork();
  if (pid != 0) return;
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, NULL);
  signal(SIGPIPE, SIG_DFL);
  setsid();
  run_command(&entry);
}

/* SIGINT or SIGTERM for process 1. Firecracker ends when the guest restarts. */
void shut_down(void) {
  struct timespec grace = {.tv_sec = 2};
  kill(-1, SIGTERM);
  nanosleep(&grace, NULL);
  kill(-1, SIGKILL);
  sync();
  reboot(RB_AUTOBOOT);
  for (;;) pause();
}
