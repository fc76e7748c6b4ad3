/* start, invoke, stop and list. functions.c does the rest. */
#include "functions.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static bool name_of(struct call *c, struct bytes *name) {
  if (find_field(c, T_NAME, name) && is_function_name(*name)) return true;
  fail(c, "BAD_REQUEST", 0, "name is not the name of a function");
  return false;
}

static struct function *free_slot(void) {
  for (int i = 0; i < MAX_FUNCTIONS; i++)
    if (functions[i].state == NONE) return &functions[i];
  return NULL;
}

static void stop(struct function *f) {
  kill_function(f);
  if (f->call != NULL) {
    struct call *c = f->call;
    f->call = NULL;
    c->function = NULL, c->borrowed = false, c->input = -1;
    fail(c, "FUNCTION_ENDED", 0, "the function was stopped or replaced");
  }
  give_back(f);
}

/* Its descriptors 3 and 4 are pipes, and so is its output, of which the agent keeps the end. */
void open_start(struct call *c) {
  struct bytes name, value;
  int requests[2] = {-1, -1}, replies[2] = {-1, -1}, log[2] = {-1, -1};
  if (!name_of(c, &name)) return;
  if (!find_field(c, T_ARG, &value) || value.length == 0)
    return fail(c, "BAD_REQUEST", 0, "start needs a program");
  struct function *f = find_function(name);
  if (f != NULL) stop(f);
  if ((f = free_slot()) == NULL) return fail(c, "FAILED", ENOSPC, "there are 64 functions");
  bool made = pipe2(requests, O_CLOEXEC) == 0 && pipe2(replies, O_CLOEXEC) == 0 && pipe2(log, O_CLOEXEC) == 0;
  int error = errno;
  if (made) {
    fcntl(log[0], F_SETFL, O_NONBLOCK);
    fcntl(requests[1], F_SETFL, O_NONBLOCK);
    fcntl(replies[0], F_SETFL, O_NONBLOCK);
    *f = (struct function){.state = LOADING, .requests = requests[1], .replies = replies[0], .log = log[0], .call = c};
    memcpy(f->name, name.at, name.length);
    c->function = f;
    struct plan plan = {.requests = requests[0], .replies = replies[1], .log = log[1]};
    // The process belongs to the function, not to the call.
    if (spawn(c, &plan, run_command)) f->pid = c->pid, c->pid = 0;
  } else {
    fail(c, "FAILED", error, "the pipes of a function");
  }
  close(requests[0]);
  close(replies[1]);
  close(log[1]);
  if (!made) close(requests[1]), close(replies[0]), close(log[0]);
}

void open_invoke(struct call *c) {
  struct bytes name;
  if (!name_of(c, &name)) return;
  uint64_t size = number_of(c, T_SIZE, 0);
  if (size > MAX_FUNCTION_BYTES) return fail(c, "BAD_REQUEST", 0, "the input is longer than 16 MiB");
  struct function *f = find_function(name);
  if (f == NULL) return fail(c, "NO_FUNCTION", 0, "no function of this name was started");
  c->to_send = size;
  c->function = f;
  c->phase = QUEUED;
  serve_functions();
}

void open_stop(struct call *c) {
  struct bytes name;
  if (!name_of(c, &name)) return;
  struct function *f = find_function(name);
  if (f == NULL) return fail(c, "NO_FUNCTION", 0, "no function of this name was started");
  stop(f);
  begin_frame(c, RESULT);
  end_frame(c);
  c->phase = CLOSING;
}

void list_functions(struct call *c) {
  begin_frame(c, RESULT);
  for (int i = 0; i < MAX_FUNCTIONS; i++) {
    struct function *f = &functions[i];
    uint8_t value[17 + 32];
    if (f->state == NONE) continue;
    size_t length = strlen(f->name);
    put64(value, f->pid);
    put64(value + 8, f->calls);
    value[16] = f->pid > 0;
    memcpy(value + 17, f->name, length);
    add_field(c, T_FUNCTION, value, 17 + length);
  }
  end_frame(c);
  c->phase = CLOSING;
}

/* Resident KiB: the second number of /proc/PID/statm, in pages. */
static uint64_t resident_kib(const char *pid) {
  char path[32] = "/proc/", text[64] = "";
  int fd = open(strcat(strcat(path, pid), "/statm"), O_RDONLY | O_CLOEXEC);
  ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  close(fd);
  uint64_t pages = 0;
  char *at = got > 0 ? strchr(text, ' ') : NULL;
  while (at != NULL && *++at >= '0' && *at <= '9') pages = pages * 10 + (*at - '0');
  return pages * 4;
}

/* In the child of `memory`. */
void print_functions(int fd) {
  for (int i = 0; i < MAX_FUNCTIONS; i++) {
    struct function *f = &functions[i];
    char pid[24], kib[24], *end = pid + sizeof pid - 1, *last = kib + sizeof kib - 1;
    if (f->state == NONE || f->pid == 0) continue;
    *end = *last = 0;
    char *digits = decimal(f->pid, end), *resident = decimal(resident_kib(digits), last);
    write_all(fd, f->name, strlen(f->name));
    write_all(fd, " ", 1);
    write_all(fd, digits, strlen(digits));
    write_all(fd, " ", 1);
    write_all(fd, resident, strlen(resident));
    write_all(fd, "\n", 1);
  }
}
