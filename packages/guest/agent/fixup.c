/* Fix-ups: what a clone must be told, because its memory is another machine's. Done in the order of the
 * fields; each is answered by a STEP with its time. */
#include "agent.h"
#include <fcntl.h>
#include "kernel.h"
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { MAX_ENTROPY = 512, MAX_STEPS = 64 };

/* Returns errno, or 0, as each step below does. The clock before goes into the call's result. */
static int set_clock(struct call *c, struct bytes value) {
  struct timespec was, it;
  if (value.length != 8) return EINVAL;
  uint64_t ns = get64(value.at);
  it = (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
  clock_gettime(CLOCK_REALTIME, &was);
  c->clock_was_ns = was.tv_sec * 1000000000ll + was.tv_nsec;
  return clock_settime(CLOCK_REALTIME, &it) == 0 ? 0 : errno;
}

/* Bytes that are credited, and a new key for the generator at once: without it, getrandom would go on with
 * the key that all clones have, for up to a minute. */
static int add_entropy(struct bytes value) {
  struct { int bits, length; uint8_t bytes[MAX_ENTROPY]; } pool = {value.length * 8, value.length};
  if (value.length < 32 || value.length > MAX_ENTROPY) return EINVAL;
  int fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  memcpy(pool.bytes, value.at, value.length);
  int error = ioctl(fd, RNDADDENTROPY, &pool) != 0 || ioctl(fd, RNDRESEEDCRNG) != 0 ? errno : 0;
  close(fd);
  return error;
}

static int set_hostname(struct bytes value) {
  if (value.length == 0 || value.length > 64) return EINVAL;
  for (uint32_t i = 0; i < value.length; i++) {
    uint8_t it = value.at[i];
    bool letter = (it >= 'a' && it <= 'z') || (it >= 'A' && it <= 'Z') || (it >= '0' && it <= '9');
    if (!letter && it != '.' && it != '-') return EINVAL;
  }
  return sethostname((const char *)value.at, value.length) == 0 ? 0 : errno;
}

static int write_line(const char *path, const char *line) {
  // Without O_NONBLOCK a FIFO in the image would stop the agent until it has a reader.
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0444);
  if (fd < 0) return errno;
  ssize_t length = strlen(line), written = write(fd, line, length);
  int error = written == length ? 0 : written < 0 ? errno : ENOSPC;
  close(fd);
  return error;
}

static int set_machine_id(struct bytes value) {
  static const char over[] = "/run/varve-machine-id";
  struct stat status;
  char line[34];
  if (value.length != 32) return EINVAL;
  memcpy(line, value.at, 32);
  line[32] = '\n', line[33] = 0;
  if (strspn(line, "0123456789abcdef") != 32) return EINVAL;
  int error = write_line("/etc/machine-id", line);
  // On a root file system that is read-only, a file in memory covers it, as systemd does it.
  if (error == EROFS && (error = write_line(over, line)) == 0)
    error = mount(over, "/etc/machine-id", NULL, MS_BIND, NULL) == 0 ? 0 : errno;
  // Often a link to the other one, and never as important.
  if (error == 0 && lstat("/var/lib/dbus/machine-id", &status) == 0 && S_ISREG(status.st_mode))
    write_line("/var/lib/dbus/machine-id", line);
  // Neither the file nor a way to make it: then the guest has no id that it could share with another.
  return error == ENOENT ? 0 : error;
}

static void step(struct call *c, const char *name, int64_t started_us) {
  uint8_t value[32];
  put64(value, now_us() - started_us);
  memcpy(value + 8, name, strlen(name));
  begin_frame(c, STEP);
  add_field(c, T_STEP, value, 8 + strlen(name));
  end_frame(c);
}

void fix_up(struct call *c) {
  struct bytes rest = request_fields(c), value;
  enum tag tag;
  int steps = 0;
  while (next_field(&rest, &tag, &value)) {
    const char *name = NULL;
    int error = 0;
    int64_t start = now_us();
    switch (tag) {
      case T_CLOCK: name = "clock", error = set_clock(c, value); break;
      case T_ENTROPY: name = "entropy", error = add_entropy(value); break;
      case T_HOSTNAME: name = "hostname", error = set_hostname(value); break;
      case T_MACHINE_ID: name = "machine-id", error = set_machine_id(value); break;
      case T_ADDRESS: name = "address", error = set_address(value); break;
      case T_ROUTE: name = "route", error = add_route(value); break;
      default: continue;
    }
    if (error != 0 || ++steps > MAX_STEPS) return fail(c, "STEP_FAILED", error, name);
    step(c, name, start);
  }
}
