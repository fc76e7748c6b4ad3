/* A call, from its connection to its end. */
#include "agent.h"
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <poll.h>
#include <unistd.h>

enum { IN_BYTES = 8 + MAX_OPEN_BYTES + 8 + MAX_DATA_BYTES, PAGE = 4096 };
#define PAGES(bytes) (((bytes) + PAGE) / PAGE * PAGE)

struct call calls[MAX_CALLS];
/* Each buffer begins a page of its own, and has a byte to spare for a zero. Those of one call lie together,
 * and behind all other variables (`common`): so the program, these and the first calls are within 2 MiB, and
 * need one page of page tables, in the agent and in each child that it forks. */
struct { uint8_t in[PAGES(IN_BYTES)], ring[PAGES(INPUT_BYTES)], out[PAGES(OUT_BYTES)]; } buffers[MAX_CALLS]
  __attribute__((common, aligned(PAGE)));

/* The lowest free slot, so that few slots are ever touched. */
struct call *take_call(int socket) {
  static uint64_t number;
  int i = 0;
  while (i < MAX_CALLS && calls[i].phase != FREE) i++;
  if (i == MAX_CALLS) return NULL;
  struct call *c = &calls[i];
  memset(c, 0, sizeof *c);
  c->phase = PREAMBLE;
  c->socket = socket;
  c->number = ++number;
  c->input = c->output[1] = c->output[2] = c->status = -1;
  c->deadline_ms = now_ms() + OPEN_LIMIT_MS;
  c->in = buffers[i].in, c->ring = buffers[i].ring, c->out = buffers[i].out;
  return c;
}

static void close_one(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

/* The leader first: a child that has not made its group yet must not live to make it. */
void kill_group(pid_t leader) {
  kill(leader, SIGKILL);
  kill(-leader, SIGKILL);
}

/* Ends what works for a call. A child that writes a file removes what it has written (SIGTERM). */
void kill_work(struct call *c) {
  if (c->function != NULL) leave_function(c);
  if (c->pid > 0 && !c->exited) {
    if (c->verb == V_PUT) kill(c->pid, SIGTERM);
    else if (c->tty) kill_session(c->pid);
    if (c->verb != V_PUT) kill_group(c->pid);
  }
  // Only now: a child that reads a file's content must not take this for its end.
  if (!c->borrowed) close_one(&c->input);
  c->input = -1;
  close_one(&c->output[1]);
  close_one(&c->output[2]);
  close_one(&c->status);
}

/* Gives back the pages of a buffer, except for the first, which the next call needs again. */
static void forget(uint8_t *buffer, uint32_t bytes) { madvise(buffer + PAGE, PAGES(bytes) - PAGE, MADV_DONTNEED); }

/* The connection is gone, or has been used up. */
void end_call(struct call *c) {
  if (c->phase < CLOSING) kill_work(c);
  close(c->socket);
  forget(c->in, IN_BYTES);
  forget(c->ring, INPUT_BYTES);
  forget(c->out, OUT_BYTES);
  c->phase = FREE;
}

/* A child has ended; its zombie is still there, so its group's number cannot be another's yet. */
void child_ended(pid_t pid, int wait_status) {
  if (function_ended(pid)) return;
  for (int i = 0; i < MAX_CALLS; i++) {
    struct call *c = &calls[i];
    if (c->phase == FREE || c->pid != pid || c->exited) continue;
    if (c->tty) kill_session(pid);
    kill_group(pid);
    c->exited = true;
    c->wait_status = wait_status;
    measure_outputs(c);
    close_input(c);
    return;
  }
}

static bool is_time(struct call *c) { return c->deadline_ms != 0 && now_ms() >= c->deadline_ms; }

static void time_is_up(struct call *c) {
  c->deadline_ms = 0;
  if (c->phase == PREAMBLE || c->phase >= CLOSING) return end_call(c);
  if (c->phase == OPENING) return fail(c, "BAD_REQUEST", 0, "no request came within 10 s");
  // A command that had ended by itself was not ended by its time limit: only its output is still to be sent.
  if (c->verb == V_EXEC && c->exited) return;
  c->timed_out = true;
  if (c->verb != V_EXEC) return fail(c, "TIMED_OUT", 0, "the call took longer than its timeout");
  // What the command has written so far is still sent, and RESULT says that the time was up.
  if (c->tty) kill_session(c->pid);
  kill_group(c->pid);
}

/* Does all that can be done for a call now. */
void serve_call(struct call *c) {
  if (is_time(c)) time_is_up(c);
  if (c->phase == FREE) return;
  receive(c);
  if (c->phase == STARTING || c->phase == RUNNING) {
    take_reports(c);
    pump_input(c);
    pump_outputs(c);
    give_credit(c);
    finish_if_done(c);
  }
  if (c->phase != FREE) flush(c);
}

/* What to wake for. Level-triggered: nothing is watched that is not wanted now. */
void watch_call(struct call *c) {
  bool pending = c->out_end > c->out_start;
  bool reads = c->phase >= CLOSING || has_room(c, OUT_RESERVE);
  watch(c->socket, (reads ? POLLIN : 0) | (pending ? POLLOUT : 0));
  if (c->phase != STARTING && c->phase != RUNNING) return;
  if (c->status >= 0 && has_room(c, OUT_RESERVE)) watch(c->status, POLLIN);
  if (c->input >= 0 && c->input_end > c->input_start) watch(c->input, POLLOUT);
  for (int stream = 1; stream <= 2; stream++)
    if (c->output[stream] >= 0 && c->credit[stream] > 0 && data_room(c) > 0 && c->phase == RUNNING)
      watch(c->output[stream], POLLIN);
}
