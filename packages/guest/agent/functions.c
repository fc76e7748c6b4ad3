/* Functions: processes that stay, and answer one call after another. The agent passes the bytes on and keeps
 * none of them. docs/formats/guest-agent.md, "Functions". */
#include "functions.h"
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { DRAIN_BYTES = 16384 };

struct function functions[MAX_FUNCTIONS];
static uint8_t dropped[DRAIN_BYTES];

struct function *find_function(struct bytes name) {
  for (int i = 0; i < MAX_FUNCTIONS; i++)
    if (functions[i].state != NONE && strlen(functions[i].name) == name.length &&
        memcmp(functions[i].name, name.at, name.length) == 0)
      return &functions[i];
  return NULL;
}

void kill_function(struct function *f) {
  if (f->pid > 0) kill_group(f->pid);
}

static void detach(struct call *c) {
  c->function = NULL;
  c->borrowed = false;
  c->input = -1;
}

/* Frees the slot. Calls that still wait for the function fail. */
void give_back(struct function *f) {
  for (int i = 0; i < MAX_CALLS; i++)
    if (calls[i].phase == QUEUED && calls[i].function == f) {
      detach(&calls[i]);
      fail(&calls[i], "NO_FUNCTION", 0, "the function was stopped or replaced");
    }
  if (f->requests >= 0) close(f->requests);
  if (f->replies >= 0) close(f->replies);
  if (f->log >= 0) close(f->log);
  memset(f, 0, sizeof *f);
}

/* Keeps the end: a function that writes without end must not fill the guest's memory. */
static void keep(struct function *f, const uint8_t *bytes, uint32_t length) {
  if (length > MAX_MESSAGE) bytes += length - MAX_MESSAGE, length = MAX_MESSAGE;
  uint32_t over = f->said_bytes + length > MAX_MESSAGE ? f->said_bytes + length - MAX_MESSAGE : 0;
  memmove(f->said, f->said + over, f->said_bytes -= over);
  memcpy(f->said + f->said_bytes, bytes, length);
  f->said_bytes += length;
}

/* A pipe's worth at most, so that other work has its turn. */
static void take_log(struct function *f) {
  for (int turn = 0; f->log >= 0 && turn < 8; turn++) {
    ssize_t got = read(f->log, dropped, sizeof dropped);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got > 0) keep(f, dropped, got);
    else close(f->log), f->log = -1;
  }
}

/* The end of what it wrote to its log, behind `what`. */
static void fail_with_log(struct function *f, struct call *c, const char *code, const char *what) {
  static char message[MAX_MESSAGE + 1];
  size_t used = strlen(what);
  take_log(f);
  uint32_t room = MAX_MESSAGE - used, length = f->said_bytes < room ? f->said_bytes : room;
  memcpy(message, what, used);
  memcpy(message + used, f->said + f->said_bytes - length, length);
  message[used + length] = 0;
  fail(c, code, 0, message);
}

/* Kills the process; the call that waits for it fails. */
static void end_function(struct function *f, const char *code, const char *what) {
  struct call *c = f->call;
  bool loading = f->state == LOADING;
  kill_function(f);
  f->call = NULL;
  if (c != NULL) {
    // A program that could not be started says so in the call's status pipe.
    if (loading) take_reports(c);
    detach(c);
    if (c->failure.kind != 0) fail(c, c->failure.code, c->failure.error, c->failure.text);
    else fail_with_log(f, c, loading ? "START_FAILED" : code, what);
  }
  if (loading) return give_back(f);
  f->state = IDLE;
  if (f->requests >= 0) close(f->requests), close(f->replies);
  f->requests = f->replies = -1;
}

/* The connection of a call has ended, or its time is up. */
void leave_function(struct call *c) {
  struct function *f = c->function;
  bool goes_on = c->verb == V_INVOKE && c->to_send == 0 && !c->timed_out;
  int64_t deadline = c->deadline_ms;
  bool serving = f->call == c;
  detach(c);
  if (!serving) return;
  f->call = NULL;
  if (f->state == LOADING) {
    kill_function(f);
    give_back(f);
  } else if (goes_on) {
    f->state = DROPPING;
    f->deadline_ms = deadline;
  } else
    end_function(f, "", "");
}

static void begin_reply(struct function *f) {
  take_log(f);
  f->have = f->left = f->said_bytes = 0;
}

static bool is_empty(int pipe) {
  int bytes = 0;
  return ioctl(pipe, FIONREAD, &bytes) == 0 && bytes == 0;
}

/* What is left in a pipe of the call before would be taken for a part of this one. */
static void begin_call(struct function *f, struct call *c) {
  uint8_t prefix[4];
  if (f->requests < 0) {
    detach(c);
    return fail_with_log(f, c, "FUNCTION_ENDED", "its process has ended: ");
  }
  f->state = BUSY;
  f->call = c;
  if (!is_empty(f->requests) || !is_empty(f->replies))
    return end_function(f, "FUNCTION_ENDED", "it has answered before it had read all, or twice: ");
  begin_reply(f);
  f->calls++;
  c->phase = RUNNING;
  c->borrowed = true;
  c->input = f->requests;
  c->started_us = now_us();
  put32(prefix, c->to_send);
  // The pipe is empty: the last request has been answered, so four bytes fit.
  if (write(f->requests, prefix, 4) != 4) return end_function(f, "FUNCTION_ENDED", "it reads no request: ");
  begin_frame(c, ACCEPTED);
  end_frame(c);
}

/* The next call in the order in which they came. */
static void next_call(struct function *f) {
  struct call *next = NULL;
  for (int i = 0; i < MAX_CALLS; i++)
    if (calls[i].phase == QUEUED && calls[i].function == f && (!next || calls[i].number < next->number))
      next = &calls[i];
  if (next != NULL) begin_call(f, next);
}

static void reply_is_whole(struct function *f) {
  struct call *c = f->call;
  bool loading = f->state == LOADING, unread = c != NULL && c->to_send > 0;
  f->state = IDLE;
  f->call = NULL;
  f->deadline_ms = 0;
  if (c == NULL) return;
  detach(c);
  // A process that could not load its function says why in words, which are in the log with START_FAILED.
  if (loading && f->head[0] != 0) {
    fail_with_log(f, c, "START_FAILED", "");
    kill_function(f);
    return give_back(f);
  }
  begin_frame(c, RESULT);
  if (loading) add_number(c, T_PID, f->pid);
  else add_number(c, T_STATUS, f->head[0]), add_number(c, T_HANDLER, get64(f->head + 1));
  add_number(c, T_ELAPSED, now_us() - c->started_us);
  end_frame(c);
  c->phase = CLOSING;
  flush(c);
  // It would take the next call for the rest of this one's input.
  if (unread) end_function(f, "", "");
}

/* One piece of the reply; false if nothing more can be done now. */
static bool take_reply(struct function *f) {
  struct call *c = f->call;
  ssize_t got;
  if (f->have < REPLY_HEAD) {
    got = read(f->replies, f->head + f->have, REPLY_HEAD - f->have);
    if (got > 0 && (f->have += got) == REPLY_HEAD) {
      f->left = get32(f->head + 9);
      if (f->left > MAX_FUNCTION_BYTES) return end_function(f, "TOO_LONG", "its answer is too long: "), false;
      if (f->left == 0) return reply_is_whole(f), false;
    }
  } else {
    int stream = f->head[0] == 0 ? 1 : 2;
    uint32_t room = sizeof dropped;
    bool to_log = f->state == LOADING, passes = c != NULL && !to_log;
    if (passes) room = data_room(c) < c->credit[stream] ? data_room(c) : c->credit[stream];
    if (room > f->left) room = f->left;
    if (room == 0) return false;
    got = read(f->replies, passes ? data_place(c) : dropped, room);
    if (got > 0) {
      f->left -= got;
      if (to_log) keep(f, dropped, got);
      if (passes) {
        queue_data(c, stream, got);
        c->credit[stream] -= got;
        flush(c);
        if (f->call != c) return false;
      }
      if (f->left == 0) return reply_is_whole(f), false;
    }
  }
  if (got > 0) return true;
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  end_function(f, "FUNCTION_ENDED", "its process has ended: ");
  return false;
}

static bool is_waiting(struct function *f) {
  return f->state == LOADING || f->state == BUSY || f->state == DROPPING;
}

void serve_functions(void) {
  for (int i = 0; i < MAX_FUNCTIONS; i++) {
    struct function *f = &functions[i];
    if (f->state == NONE) continue;
    take_log(f);
    if (f->state == DROPPING && f->deadline_ms != 0 && now_ms() >= f->deadline_ms) end_function(f, "", "");
    for (int turn = 0; turn < 8 && is_waiting(f) && take_reply(f); turn++);
    if (f->state == IDLE) next_call(f);
  }
}

void watch_functions(void) {
  for (int i = 0; i < MAX_FUNCTIONS; i++) {
    struct function *f = &functions[i];
    struct call *c = f->call;
    if (f->state != NONE && f->log >= 0) watch(f->log, POLLIN);
    if (!is_waiting(f)) continue;
    bool head = f->have < REPLY_HEAD || c == NULL || f->state == LOADING;
    if (head || (data_room(c) > 0 && c->credit[f->head[0] == 0 ? 1 : 2] > 0)) watch(f->replies, POLLIN);
  }
}

int64_t functions_deadline(void) {
  int64_t next = 0;
  for (int i = 0; i < MAX_FUNCTIONS; i++)
    if (functions[i].state == DROPPING && functions[i].deadline_ms != 0 &&
        (next == 0 || functions[i].deadline_ms < next))
      next = functions[i].deadline_ms;
  return next;
}

/* Its zombie is still there. What it wrote before is still read: the pipe then ends. */
bool function_ended(pid_t pid) {
  for (int i = 0; i < MAX_FUNCTIONS; i++) {
    struct function *f = &functions[i];
    if (f->state == NONE || f->pid != pid) continue;
    kill_group(pid);
    f->pid = 0;
    if (f->state == IDLE && f->requests >= 0) end_function(f, "", "");
    return true;
  }
  return false;
}
