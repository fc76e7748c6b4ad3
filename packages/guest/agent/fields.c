/* Fields of a frame: u16 tag, u16 length, bytes. Numbers are little-endian, as x86-64 and arm64 have them. */
#include "agent.h"
#include <string.h>

uint16_t get16(const uint8_t *at) { uint16_t v; memcpy(&v, at, 2); return v; }
uint32_t get32(const uint8_t *at) { uint32_t v; memcpy(&v, at, 4); return v; }
uint64_t get64(const uint8_t *at) { uint64_t v; memcpy(&v, at, 8); return v; }
void put16(uint8_t *at, uint16_t value) { memcpy(at, &value, 2); }
void put32(uint8_t *at, uint32_t value) { memcpy(at, &value, 4); }
void put64(uint8_t *at, uint64_t value) { memcpy(at, &value, 8); }

/* Takes one field off `rest`; false if there is none, or only a part of one. */
bool next_field(struct bytes *rest, enum tag *tag, struct bytes *value) {
  if (rest->length < 4) return false;
  uint32_t length = get16(rest->at + 2);
  if (length > rest->length - 4) return false;
  *tag = get16(rest->at);
  *value = (struct bytes){rest->at + 4, length};
  rest->at += 4 + length;
  rest->length -= 4 + length;
  return true;
}

static bool is_text(enum tag tag) {
  return tag == T_ARG || tag == T_ENV || tag == T_CWD || tag == T_USER || tag == T_PATH || tag == T_NAME ||
         tag == T_HOSTNAME;
}

/* Whether fields fill `fields` to its end, keep to the counts, and no text has a zero byte. */
bool fields_are_whole(struct bytes fields) {
  enum tag tag;
  struct bytes value;
  unsigned count = 0, args = 0, env = 0;
  while (next_field(&fields, &tag, &value)) {
    args += tag == T_ARG;
    env += tag == T_ENV;
    if (++count > MAX_FIELDS || args > MAX_WORDS || env > MAX_WORDS) return false;
    if (is_text(tag) && memchr(value.at, 0, value.length)) return false;
  }
  return fields.length == 0;
}

/* The request stays at the start of `in`: frame header, verb, fields. */
struct bytes request_fields(struct call *c) { return (struct bytes){c->in + 12, c->open_bytes - 12}; }

bool find_field(struct call *c, enum tag wanted, struct bytes *value) {
  struct bytes rest = request_fields(c);
  enum tag tag;
  while (next_field(&rest, &tag, value))
    if (tag == wanted) return true;
  return false;
}

uint64_t number_of(struct call *c, enum tag tag, uint64_t fallback) {
  struct bytes value;
  return find_field(c, tag, &value) && value.length == 8 ? get64(value.at) : fallback;
}

/* Copies a text, with a zero byte behind it; false if it does not fit or is empty. */
bool text_of(struct bytes value, char *to, uint32_t room) {
  if (value.length == 0 || value.length >= room) return false;
  memcpy(to, value.at, value.length);
  to[value.length] = 0;
  return true;
}

bool is_function_name(struct bytes name) {
  if (name.length == 0 || name.length > 32 || name.at[0] == '-') return false;
  for (uint32_t i = 0; i < name.length; i++) {
    uint8_t it = name.at[i];
    if (!(it >= 'a' && it <= 'z') && !(it >= '0' && it <= '9') && it != '-') return false;
  }
  return true;
}
