/* The children of put, get and memory: they may wait for a disk, and the agent must not. */
#include "agent.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static uint8_t buffer[65536];
static char path[MAX_PATH], work[32 + 200];
/* Of `path`; -1 while there is no work file in it. */
static int folder = -1;

static void take_path(struct call *c) {
  struct bytes value;
  if (!find_field(c, T_PATH, &value) || !text_of(value, path, sizeof path) || path[0] != '/')
    child_fails("BAD_REQUEST", 0, "path is not an absolute path");
}

static bool owner_of(struct call *c, struct owner *owner) {
  struct bytes value;
  char user[128];
  if (!find_field(c, T_USER, &value)) return false;
  if (!text_of(value, user, sizeof user)) child_fails("BAD_REQUEST", 0, "user is not a name");
  find_user(user, owner);
  return true;
}

static void cannot(const char *what) {
  int error = errno;
  if (folder >= 0) unlinkat(folder, work, 0);
  child_fails("FILE_FAILED", error, what);
}

/* The connection has ended, or the time is up. */
static void give_up(int signal) {
  (void)signal;
  if (folder >= 0) unlinkat(folder, work, 0);
  _exit(1);
}

/* A file in the same folder, as rename must not cross file systems. The folder is looked up once: a user who
 * can replace it by a link afterwards moves neither the work file nor the rename elsewhere. */
static int open_work_file(const char *name) {
  char digits[24], *end = digits + sizeof digits - 1, first = *name;
  *end = 0;
  if (first == 0 || strlen(name) > 200) child_fails("BAD_REQUEST", 0, "path does not end in a file's name");
  strcat(strcat(strcat(strcpy(work, ".varve-"), decimal(getpid(), end)), "-"), name);
  // `name` is the end of `path`, whose beginning is the folder's.
  path[name - path] = 0;
  int parent = open(path, O_PATH | O_DIRECTORY);
  path[name - path] = first;
  if (parent < 0) return -1;
  // Before the file is there, so that a signal right behind its making removes it.
  folder = parent;
  int fd = openat(parent, work, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
  if (fd < 0) folder = -1;
  return fd;
}

void put_file(struct call *c) {
  struct owner owner;
  struct report done = {.kind = R_DONE};
  ssize_t got;
  take_path(c);
  bool owned = owner_of(c, &owner);
  if (owned) act_as(&owner);
  const char *name = strrchr(path, '/') + 1;
  signal(SIGTERM, give_up);
  int fd = open_work_file(name);
  if (fd < 0) cannot(path);
  report_to_agent(&(struct report){.kind = R_FILE});
  while ((got = read(0, buffer, sizeof buffer)) > 0)
    for (ssize_t at = 0; at < got;) {
      ssize_t n = write(fd, buffer + at, got - at);
      if (n < 0) cannot(path);
      at += n;
      done.value += n;
    }
  if (got < 0 || fsync(fd) != 0) cannot(path);
  // The group of a folder with a set-group-ID bit is not the user's. A change of owner takes such bits of the
  // file away, so the mode comes after it.
  if (owned && fchown(fd, owner.uid, owner.gid) != 0) cannot("the owner could not be set");
  if (fchmod(fd, number_of(c, T_MODE, 0644) & 07777) != 0) cannot("the mode could not be set");
  if (close(fd) != 0 || renameat(folder, work, folder, name) != 0) cannot(path);
  report_to_agent(&done);
}

/* Without O_NONBLOCK a FIFO would wait for its writer; for regular files it changes nothing. */
void get_file(struct call *c) {
  struct owner owner;
  struct report done = {.kind = R_DONE};
  struct stat status;
  ssize_t got;
  take_path(c);
  if (owner_of(c, &owner)) act_as(&owner);
  int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (fd < 0 || fstat(fd, &status) != 0) child_fails("FILE_FAILED", errno, path);
  if (S_ISDIR(status.st_mode)) child_fails("FILE_FAILED", EISDIR, path);
  report_to_agent(&(struct report){.kind = R_FILE, .value = status.st_mode & 07777, .size = status.st_size});
  while ((got = read(fd, buffer, sizeof buffer)) > 0) {
    write_all(1, buffer, got);
    done.value += got;
  }
  if (got < 0) child_fails("FILE_FAILED", errno, path);
  report_to_agent(&done);
}

static void copy_out(const char *name) {
  ssize_t got;
  int fd = open(name, O_RDONLY);
  while (fd >= 0 && (got = read(fd, buffer, sizeof buffer)) > 0) write_all(1, buffer, got);
  close(fd);
}

void report_memory(struct call *c) {
  (void)c;
  copy_out("/proc/meminfo");
  write_all(1, "", 1);
  copy_out("/proc/vmstat");
  write_all(1, "", 1);
  print_functions(1);
}
