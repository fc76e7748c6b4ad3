/* Streams: bytes between frames and the pipes of a call, each as far as its receiver has given credit. */
#include "agent.h"
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* A line discipline keeps 4 KiB, and the buffer behind it 64 KiB (drivers/tty/tty_buffer.c). */
enum { MOST_OF_TERMINAL = 128 << 10 };

/* DATA of stream 0. The caller has checked it against the credit. */
void take_input(struct call *c, uint8_t *data, uint32_t length) {
  c->input_credit -= length;
  if (c->input < 0) return; // The reader has gone: END has told the host.
  if (INPUT_BYTES - c->input_end < length) {
    memmove(c->ring, c->ring + c->input_start, c->input_end - c->input_start);
    c->input_end -= c->input_start;
    c->input_start = 0;
  }
  memcpy(c->ring + c->input_end, data, length);
  c->input_end += length;
}

void close_input(struct call *c) {
  if (c->input < 0) return;
  if (!c->borrowed) close(c->input);
  c->input = -1;
  c->input_start = c->input_end = 0;
}

/* END of stream 0. On a terminal it is what a person types: Ctrl-D. */
void input_end(struct call *c) {
  static uint8_t end_of_transmission = 4;
  if (c->input_ended) return;
  c->input_ended = true;
  if (c->tty && c->input >= 0) {
    c->input_credit++;
    take_input(c, &end_of_transmission, 1);
  }
}

/* Tells the host that nothing reads stream 0 any more. */
static void reader_gone(struct call *c) {
  close_input(c);
  if (!c->input_ended && !c->input_refused) queue_plain(c, END, 0, NULL, 0);
  c->input_refused = true;
}

/* Credit is as much as the ring has room for; small amounts are saved up. A terminal's ring keeps a byte for
 * Ctrl-D. */
void give_credit(struct call *c) {
  if (c->input < 0 || c->input_ended || c->phase != RUNNING || !has_room(c, OUT_RESERVE)) return;
  uint32_t most = INPUT_BYTES - c->tty, held = c->input_end - c->input_start;
  uint32_t more = most - held - c->input_credit;
  uint8_t bytes[4];
  if (more < INPUT_BYTES / 2) return;
  put32(bytes, more);
  c->input_credit += more;
  queue_plain(c, CREDIT, 0, bytes, 4);
}

void pump_input(struct call *c) {
  while (c->input >= 0 && c->input_end > c->input_start) {
    ssize_t n = write(c->input, c->ring + c->input_start, c->input_end - c->input_start);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n < 0) return reader_gone(c);
    c->input_start += n;
    c->done_bytes += n;
    if (c->borrowed) c->to_send -= n;
  }
  if (c->input < 0) return;
  c->input_start = c->input_end = 0;
  if (c->input_ended && !c->tty && !c->borrowed) close_input(c);
}

/* The child has ended. A process that left its group can keep the pipes open, and full, so only what is in
 * them now is still sent. The kernel does not say how much a terminal has. */
void measure_outputs(struct call *c) {
  for (int stream = 1; stream <= 2; stream++) {
    int bytes = MOST_OF_TERMINAL;
    if (c->output[stream] >= 0 && !c->tty && ioctl(c->output[stream], FIONREAD, &bytes) != 0) bytes = 0;
    c->left[stream] = bytes;
  }
}

static void end_output(struct call *c, int stream) {
  close(c->output[stream]);
  c->output[stream] = -1;
  queue_plain(c, END, stream, NULL, 0);
}

static void pump_output(struct call *c, int stream) {
  int *fd = &c->output[stream];
  // A few frames at a time: other calls must have their turn.
  for (int turn = 0; *fd >= 0 && turn < 8; turn++) {
    uint32_t room = data_room(c);
    if (c->exited && room > c->left[stream]) room = c->left[stream];
    if (room > c->credit[stream]) room = c->credit[stream];
    if (room == 0) break;
    ssize_t n = read(*fd, data_place(c), room);
    if (n > 0) {
      queue_data(c, stream, n);
      c->credit[stream] -= n;
      if (c->exited) c->left[stream] -= n;
      flush(c);
      if (c->phase != RUNNING) return;
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN && !c->exited) return;
    return end_output(c, stream);
  }
  if (*fd >= 0 && c->exited && c->left[stream] == 0) end_output(c, stream);
}

void pump_outputs(struct call *c) {
  if (c->phase != RUNNING) return;
  pump_output(c, 1);
  if (c->phase == RUNNING) pump_output(c, 2);
}

bool outputs_ended(struct call *c) { return c->output[1] < 0 && c->output[2] < 0; }
