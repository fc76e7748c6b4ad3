/* Frames: u32 length, u8 kind, u8 stream, u16 zero, payload. Reads them from a call's connection, and queues
 * those to the host in the call's `out`. */
#include "agent.h"
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static const uint8_t preamble[8] = {'V', 'A', 'R', 'V', PROTOCOL_VERSION};

bool has_room(struct call *c, uint32_t bytes) {
  return OUT_BYTES - (c->out_end - c->out_start) >= bytes;
}

/* The place for `bytes` more. Callers ask has_room first. */
static uint8_t *reserve(struct call *c, uint32_t bytes) {
  if (OUT_BYTES - c->out_end < bytes) {
    memmove(c->out, c->out + c->out_start, c->out_end - c->out_start);
    c->out_end -= c->out_start;
    c->out_start = 0;
  }
  return c->out + c->out_end;
}

static void put_header(uint8_t *at, enum kind kind, int stream, uint32_t length) {
  put32(at, length);
  at[4] = kind;
  at[5] = stream;
  put16(at + 6, 0);
}

void queue_plain(struct call *c, enum kind kind, int stream, const void *payload, uint32_t bytes) {
  uint8_t *at = reserve(c, 8 + bytes);
  put_header(at, kind, stream, bytes);
  if (bytes > 0) memcpy(at + 8, payload, bytes);
  c->out_end += 8 + bytes;
}

/* Bytes of DATA that fit now, so that the reserve stays free. */
uint32_t data_room(struct call *c) {
  uint32_t used = c->out_end - c->out_start + OUT_RESERVE + 8;
  if (used >= OUT_BYTES) return 0;
  return OUT_BYTES - used < MAX_DATA_BYTES ? OUT_BYTES - used : MAX_DATA_BYTES;
}

/* Where DATA is read to, so that it is copied only once; queue_data then says how much came. */
uint8_t *data_place(struct call *c) { return reserve(c, data_room(c) + 8) + 8; }

void queue_data(struct call *c, int stream, uint32_t bytes) {
  put_header(c->out + c->out_end, DATA, stream, bytes);
  c->out_end += 8 + bytes;
}

static uint32_t frame_start;

/* A frame of fields: begin_frame, add_…, end_frame, with nothing queued in between. Callers have checked that
 * the reserve is free; it is larger than any such frame. */
void begin_frame(struct call *c, enum kind kind) {
  reserve(c, OUT_RESERVE);
  frame_start = c->out_end;
  put_header(c->out + c->out_end, kind, 0, 0);
  c->out_end += 8;
}

void add_field(struct call *c, enum tag tag, const void *bytes, uint32_t length) {
  if (OUT_BYTES - c->out_end < 4 + length) return;
  put16(c->out + c->out_end, tag);
  put16(c->out + c->out_end + 2, length);
  if (length > 0) memcpy(c->out + c->out_end + 4, bytes, length);
  c->out_end += 4 + length;
}

void add_number(struct call *c, enum tag tag, uint64_t value) { add_field(c, tag, &value, 8); }

void add_text(struct call *c, enum tag tag, const char *text) {
  size_t length = strlen(text);
  add_field(c, tag, text, length < MAX_MESSAGE ? length : MAX_MESSAGE);
}

void end_frame(struct call *c) { put32(c->out + frame_start, c->out_end - frame_start - 8); }

/* Ends the call with FAIL. DATA that has not been sent stays in front of it. */
void fail(struct call *c, const char *code, int error, const char *message) {
  if (c->phase >= CLOSING || c->phase == FREE) return;
  begin_frame(c, FAIL);
  add_text(c, T_CODE, code);
  if (error != 0) add_number(c, T_ERRNO, error);
  if (message != NULL) add_text(c, T_MESSAGE, message);
  end_frame(c);
  kill_work(c);
  c->phase = CLOSING;
}

static void pong(struct call *c) {
  struct timespec wall;
  clock_gettime(CLOCK_REALTIME, &wall);
  uint8_t payload[16];
  put64(payload, wall.tv_sec * 1000000000ll + wall.tv_nsec);
  put64(payload + 8, now_us() * 1000);
  queue_plain(c, PONG, 0, payload, 16);
}

static uint32_t most_bytes(enum kind kind) {
  return kind == OPEN ? MAX_OPEN_BYTES : kind == DATA ? MAX_DATA_BYTES : 16;
}

/* Handles the frames in `in` behind the request; false if one is broken. */
static bool take_frames(struct call *c) {
  uint32_t at = c->open_bytes;
  bool right = true;
  while (right && c->phase != FREE && c->phase < CLOSING && c->have - at >= 8 && has_room(c, OUT_RESERVE)) {
    uint8_t *frame = c->in + at;
    uint32_t length = get32(frame);
    enum kind kind = frame[4];
    if (length > most_bytes(kind) || get16(frame + 6) != 0) right = false;
    else if (c->have - at < 8 + length) break;
    else if (kind == PING) pong(c), at += 8 + length;
    else if (kind == OPEN) {
      right = c->phase == OPENING && length >= 4;
      if (!right) break;
      // The request stays at the start of `in` for the whole call.
      memmove(c->in, frame, c->have -= at);
      at = c->open_bytes = 8 + length;
      open_verb(c);
    } else if (c->phase == OPENING) right = false;
    else handle_frame(c, kind, frame[5], frame + 8, length), at += 8 + length;
  }
  // What a call did may have ended another one, or this one.
  if (c->phase == FREE) return true;
  memmove(c->in + c->open_bytes, c->in + at, c->have - at);
  c->have -= at - c->open_bytes;
  return right;
}

static void greet(struct call *c) {
  bool ours = memcmp(c->in, preamble, 8) == 0;
  memcpy(c->out, preamble, 8);
  c->out_end = 8;
  c->have = 0;
  c->phase = ours ? OPENING : CLOSING;
}

static void handle_frames(struct call *c) {
  if (c->phase != FREE && c->phase != PREAMBLE && c->phase < CLOSING && !take_frames(c))
    fail(c, "BAD_REQUEST", 0, "a frame that the protocol does not allow");
}

/* Reads what has come, a few times: other calls must have their turn. The end of the connection ends the
 * call. */
void receive(struct call *c) {
  handle_frames(c);
  if (c->phase == FREE) return;
  for (int turn = 0; turn < 4; turn++) {
    if (c->phase < CLOSING && !has_room(c, OUT_RESERVE)) return;
    uint32_t room = 8 + MAX_OPEN_BYTES + 8 + MAX_DATA_BYTES - c->have;
    if (c->phase >= CLOSING) c->have = 0, room = MAX_DATA_BYTES;
    if (room == 0) return;
    ssize_t n = recv(c->socket, c->in + c->have, c->phase == PREAMBLE ? 8 - c->have : room, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return end_call(c);
    c->have += n;
    if (c->phase == PREAMBLE && c->have == 8) greet(c);
    else handle_frames(c);
    if (c->phase == FREE) return;
  }
}

void flush(struct call *c) {
  while (c->out_start < c->out_end) {
    ssize_t n = send(c->socket, c->out + c->out_start, c->out_end - c->out_start, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n < 0) return end_call(c);
    c->out_start += n;
  }
  c->out_start = c->out_end = 0;
  if (c->phase != CLOSING) return;
  // The host closes first: closing with bytes unread would reset the connection, and lose what was just sent.
  c->phase = LINGERING;
  c->deadline_ms = now_ms() + LINGER_MS;
}
