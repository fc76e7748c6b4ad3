/* What each verb does when its request is there, what frames mean to it, and when it is done. */
#include "agent.h"
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HOOK_LEAST_MS = 1000, HOOK_MOST_MS = 60000, MOST_MS = 86400000 };

static const struct plan no_pipes = {.requests = -1, .replies = -1, .log = -1};

static void ping(struct call *c) {
  begin_frame(c, RESULT);
  add_text(c, T_AGENT, AGENT_VERSION);
  add_number(c, T_PID, getpid());
  add_number(c, T_UPTIME, now_ms());
  end_frame(c);
  c->phase = CLOSING;
}

static void open_exec(struct call *c) {
  struct plan plan = no_pipes;
  struct bytes value;
  plan.input = plan.output = plan.error = true;
  if (!find_field(c, T_ARG, &value) || value.length == 0)
    return fail(c, "BAD_REQUEST", 0, "exec needs a program");
  if (find_field(c, T_TTY, &value)) {
    if (value.length != 4) return fail(c, "BAD_REQUEST", 0, "tty is not two numbers");
    plan.tty = true;
    plan.rows = get16(value.at);
    plan.columns = get16(value.at + 2);
    c->tty = true;
  }
  spawn(c, &plan, run_command);
}

static void open_file(struct call *c, bool puts) {
  struct plan plan = no_pipes;
  plan.input = puts;
  plan.output = !puts;
  spawn(c, &plan, puts ? put_file : get_file);
}

/* Programs that write to streams 1 and 2. */
static void open_programs(struct call *c, void (*body)(struct call *)) {
  struct plan plan = no_pipes;
  plan.output = plan.error = true;
  spawn(c, &plan, body);
}

/* What the agent's own child writes to stream 1. */
static void open_report(struct call *c, void (*body)(struct call *)) {
  struct plan plan = no_pipes;
  plan.output = true;
  spawn(c, &plan, body);
}

static void open_hook(struct call *c) {
  static const char *const hooks[] = {"run", "resume", "suspend", "terminate"};
  struct bytes value;
  char name[32] = "";
  bool known = false;
  if (find_field(c, T_NAME, &value)) text_of(value, name, sizeof name);
  for (int i = 0; i < 4; i++) known |= strcmp(name, hooks[i]) == 0;
  uint64_t timeout = number_of(c, T_TIMEOUT, 0);
  if (!known) return fail(c, "BAD_REQUEST", 0, "name is not run, resume, suspend or terminate");
  if (timeout < HOOK_LEAST_MS || timeout > HOOK_MOST_MS)
    return fail(c, "BAD_REQUEST", 0, "timeout of a hook is not 1,000 to 60,000 ms");
  open_programs(c, run_hook);
}

void open_verb(struct call *c) {
  c->verb = get16(c->in + 8);
  c->deadline_ms = 0;
  c->started_us = now_us();
  c->phase = STARTING;
  if (!fields_are_whole(request_fields(c))) return fail(c, "BAD_REQUEST", 0, "the fields are not whole");
  uint64_t timeout = number_of(c, T_TIMEOUT, 0);
  if (timeout > MOST_MS) return fail(c, "BAD_REQUEST", 0, "timeout is more than a day");
  if (timeout > 0) c->deadline_ms = now_ms() + timeout;
  switch (c->verb) {
    case V_PING: return ping(c);
    case V_EXEC: return open_exec(c);
    case V_PUT: return open_file(c, true);
    case V_GET: return open_file(c, false);
    case V_MEMORY: return open_report(c, report_memory);
    case V_PAGES: return open_report(c, report_pages);
    case V_START: return open_start(c);
    case V_INVOKE: return open_invoke(c);
    case V_STOP: return open_stop(c);
    case V_LIST: return list_functions(c);
    case V_FIX_UP:
      fix_up(c);
      struct bytes value;
      if (c->phase == STARTING && find_field(c, T_SCRIPTS, &value)) return open_programs(c, run_scripts);
      if (c->phase == STARTING) finish_if_done(c);
      return;
    case V_HOOK: return open_hook(c);
  }
  fail(c, "UNKNOWN_VERB", 0, "this agent does not know the verb");
}

static void resize(struct call *c, uint8_t *payload) {
  struct winsize size = {.ws_row = get16(payload), .ws_col = get16(payload + 2)};
  // The kernel tells the terminal's foreground group (SIGWINCH).
  if (c->tty && c->output[1] >= 0) ioctl(c->output[1], TIOCSWINSZ, &size);
}

static bool credit(struct call *c, int stream, uint32_t bytes) {
  if (stream < 1 || stream > 2 || bytes > MAX_CREDIT - c->credit[stream]) return false;
  c->credit[stream] += bytes;
  return true;
}

/* END of a stream from the guest: the host wants no more of it. The writer gets EPIPE. */
static void unwanted(struct call *c, int stream) {
  if (c->function != NULL || c->tty || c->output[stream] < 0) return;
  close(c->output[stream]);
  c->output[stream] = -1;
  queue_plain(c, END, stream, NULL, 0);
}

/* What the host still owes of a function's input. */
static uint64_t unsent(struct call *c) { return c->to_send - (c->input_end - c->input_start); }

static bool is_right(struct call *c, enum kind kind, int stream, uint8_t *payload, uint32_t length) {
  switch (kind) {
    case DATA:
      if (stream != 0 || length == 0 || c->input_ended || length > c->input_credit) return false;
      if (c->verb == V_INVOKE && length > unsent(c)) return false;
      take_input(c, payload, length);
      return true;
    case END:
      if (stream > 2 || length != 0) return false;
      if (stream == 0 && c->verb == V_INVOKE && unsent(c) > 0) return false;
      if (stream == 0) input_end(c);
      else unwanted(c, stream);
      return true;
    case CREDIT: return length == 4 && credit(c, stream, get32(payload));
    case SIGNAL:
      if (length != 1 || payload[0] < 1 || payload[0] > 64) return false;
      if (c->verb == V_EXEC && c->pid > 0 && !c->exited) kill(-c->pid, payload[0]);
      return true;
    case RESIZE:
      if (length != 4) return false;
      resize(c, payload);
      return true;
    default: return false;
  }
}

void handle_frame(struct call *c, enum kind kind, int stream, uint8_t *payload, uint32_t length) {
  if (!is_right(c, kind, stream, payload, length))
    fail(c, "BAD_REQUEST", 0, "a frame that the protocol does not allow here");
}

static void accepted(struct call *c, const struct report *file) {
  c->phase = RUNNING;
  begin_frame(c, ACCEPTED);
  if (c->verb == V_EXEC) add_number(c, T_PID, c->pid);
  if (c->verb == V_GET && file != NULL) {
    add_number(c, T_MODE, file->value);
    add_number(c, T_SIZE, file->size);
  }
  end_frame(c);
}

static void take_report(struct call *c, const struct report *report) {
  switch (report->kind) {
    case R_FAILED: c->failure = *report; break;
    case R_FILE: accepted(c, report); break;
    case R_DONE: c->done_bytes = report->value; break;
    case R_STEP: {
      uint8_t value[8 + sizeof report->text];
      size_t length = strnlen(report->text, sizeof report->text);
      put64(value, report->value);
      memcpy(value + 8, report->text, length);
      begin_frame(c, STEP);
      add_field(c, T_STEP, value, 8 + length);
      end_frame(c);
    }
  }
}

/* What the child tells. A program that has been started closes the pipe (close-on-exec). */
void take_reports(struct call *c) {
  struct report report;
  bool reports = c->verb == V_MEMORY || c->verb == V_PAGES;
  bool runs_programs = c->verb == V_HOOK || c->verb == V_FIX_UP || reports;
  if (c->phase == STARTING && runs_programs && c->status >= 0) accepted(c, NULL);
  while (c->status >= 0 && has_room(c, OUT_RESERVE)) {
    ssize_t got = read(c->status, &report, sizeof report);
    report.code[sizeof report.code - 1] = report.text[sizeof report.text - 1] = 0;
    if (got == sizeof report) take_report(c, &report);
    else if (got < 0 && errno == EINTR) continue;
    else if (got < 0 && errno == EAGAIN) return;
    else {
      close(c->status);
      c->status = -1;
      if (c->phase == STARTING && c->failure.kind == 0 && c->verb == V_EXEC) accepted(c, NULL);
      if (c->verb == V_START && c->function != NULL && c->failure.kind != 0)
        return fail(c, c->failure.code, c->failure.error, c->failure.text);
    }
  }
}

static void result(struct call *c) {
  begin_frame(c, RESULT);
  if (c->verb == V_EXEC) {
    if (WIFEXITED(c->wait_status)) add_number(c, T_EXIT, WEXITSTATUS(c->wait_status));
    else add_number(c, T_SIGNAL, WTERMSIG(c->wait_status));
    if (c->timed_out) add_field(c, T_TIMED_OUT, NULL, 0);
    add_number(c, T_ELAPSED, now_us() - c->started_us);
  }
  if (c->verb == V_PUT || c->verb == V_GET) add_number(c, T_SIZE, c->done_bytes);
  if (c->verb == V_FIX_UP && c->clock_was_ns != 0) add_number(c, T_WAS, c->clock_was_ns);
  end_frame(c);
  c->phase = CLOSING;
}

/* RESULT or FAIL, if the child has ended and everything that it wrote has been sent. */
void finish_if_done(struct call *c) {
  if (c->phase != STARTING && c->phase != RUNNING) return;
  if (c->verb == V_START || c->verb == V_INVOKE || !has_room(c, OUT_RESERVE)) return;
  if (c->pid > 0 && (!c->exited || c->status >= 0)) return;
  if (c->failure.kind == 0 && !outputs_ended(c) && c->phase == RUNNING) return;
  if (c->failure.kind != 0) return fail(c, c->failure.code, c->failure.error, c->failure.text);
  bool died = c->pid > 0 && c->verb != V_EXEC && c->wait_status != 0;
  if (died) return fail(c, "FAILED", 0, "the agent's own process for this call ended early");
  result(c);
}
